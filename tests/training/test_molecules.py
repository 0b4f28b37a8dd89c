"""``ketformer train`` on molecules: how the user's files are read, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import cut_off, largest_difference, metrics, without_times, write_molecule_settings

NINE = ["MW", "HBA", "HBD", "nRot", "nRing", "nHet", "TPSA", "LogP", "StereoCenters"]
SHORT = ("--max_steps", 2)


def read(path):
    return json.loads(path.read_text())


def training_part(values):
    """The training part of the standard split: 90 % of the molecules, shuffled from text order."""
    values = sorted(values)  # [(smiles, value)]
    order = np.random.default_rng(42).permutation(len(values))
    return [values[i][1] for i in order[: int(0.9 * len(values))]]


@pytest.fixture
def train(ketformer, tiny_molecules, tmp_path):
    """``train("--data", file)``: the run, of two steps by default."""

    def call(*options, out="run"):
        done = ketformer("train", tiny_molecules, *SHORT, *options, "--out", tmp_path / out)
        assert done.code == 0, done.err
        return tmp_path / out

    return call


@pytest.fixture
def refused(ketformer, tiny_molecules, tmp_path):
    """``refused("--data", file, told="why")``: one line, and nothing is written."""

    def call(*options, told):
        out = tmp_path / "folder" / "run"
        ketformer("train", tiny_molecules, *SHORT, *options, "--out", out).assert_mistake(told)
        assert not out.parent.exists()

    return call


# --- What is trained on --------------------------------------------------------------------------


def test_a_list_of_smiles(molecules, smi, smiles):
    data = read(molecules / "manifest.json")["data"]
    assert (data["name"], data["split"]) == (str(smi), "standard")
    assert data["rows"] == data["molecules"] == len(smiles)
    assert data["broken"] == data["duplicates"] == 0
    tokenizer = AutoTokenizer.from_pretrained(molecules)
    assert tokenizer("C#N").input_ids == tokenizer.convert_tokens_to_ids(["[CLS]", "C", "#", "N"])
    losses = [row["loss"] for row in metrics(molecules) if "loss" in row]
    assert losses[-1] < min(losses[0] - 0.5, math.log(len(tokenizer)) - 1)  # than by chance


def test_a_table_with_the_column_named(train, table, smiles):
    run = train("--data", table, "--column", "structure")
    data = read(run / "manifest.json")["data"]
    assert (data["rows"], data["molecules"]) == (len(smiles), len(smiles))
    assert yaml.safe_load((run / "settings.yaml").read_text())["column"] == "structure"


def test_a_table_as_another_program_wrote_it(train, smiles, tmp_path):
    rows = [f"{i};{text};{i % 7},5" for i, text in enumerate([*smiles, *smiles])]
    path = tmp_path / "lims.csv"
    path.write_bytes("\r\n".join(["Größe;SMILES;LogP", *rows]).encode("cp1252"))
    recognised = train("--data", path, "--conditions", "logp", out="recognised")
    options = ("--delimiter", ";", "--decimal", ",", "--encoding", "cp1252", "--column", "smiles")
    told = train("--data", path, "--conditions", "column:LogP", *options, out="told")
    for run in (recognised, told):
        config, data = read(run / "config.json"), read(run / "manifest.json")["data"]
        assert config["condition_names"] == ["column:LogP"]
        assert (data["rows"], data["duplicates"]) == (2 * len(smiles), len(smiles))
        assert data["replicates"]["LogP"]["conflicting"] > 0
    assert read(recognised / "config.json") == read(told / "config.json")
    first = train("--data", path, "--conditions", "logp", "--replicates", "first", out="first")
    assert read(first / "config.json")["condition_means"] != pytest.approx(
        read(told / "config.json")["condition_means"]
    )


def test_a_measured_column_is_evaluated_as_such_and_requested_in_any_case(
    ketformer, train, smiles, tmp_path
):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["smiles,LogP", *[f"{s},{50 + i}" for i, s in enumerate(smiles)]]))
    run = train("--data", path, "--conditions", "LogP,TPSA")
    done = ketformer("generate", run, "--num", 5, "--condition", "logp=60", "tpsa=20", "--json")
    assert list(json.loads(done.out)["requested"]) == ["TPSA"]  # RDKit's LogP is another quantity
    ketformer("generate", run, "--condition", "LgP=1").assert_mistake("did you mean 'LogP'?")
    ketformer("generate", run, "--condition", "LogP=1", "logp=2").assert_mistake("requested twice")
    assert ketformer("evaluate", run, "--limit", 5).code == 0


def test_the_context_is_that_of_the_longest_molecule(ketformer, tiny_molecules, tmp_path):
    settings = yaml.safe_load(Path(tiny_molecules).read_text())
    del settings["model"]["max_position_embeddings"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    assert ketformer("train", tmp_path / "own.yaml", *SHORT, "--out", tmp_path / "run").code == 0
    longest = 12 + len(["[CLS]", "[EOS]"])
    assert read(tmp_path / "run/config.json")["max_position_embeddings"] == longest


def test_broken_and_repeated_molecules_are_left_out_and_counted(
    ketformer, tiny_molecules, smiles, tmp_path
):
    bad = ["C(", "hello", "F=F=F"]
    lines = [*smiles[:120], bad[0], "OCC", *bad[1:], "C(C)O"]  # CCO twice, written otherwise
    assert "CCO" in smiles[:120]
    (tmp_path / "mixed.smi").write_text("\n".join(lines) + "\n")
    done = ketformer(
        "train", tiny_molecules, *SHORT, "--data", tmp_path / "mixed.smi", "--out", tmp_path / "run"
    )
    assert done.code == 0
    data = read(tmp_path / "run/manifest.json")["data"]
    counts = {key: data[key] for key in ("rows", "molecules", "broken", "duplicates")}
    assert counts == {"rows": 125, "molecules": 120, "broken": 3, "duplicates": 2}
    merged, warning = [line for line in done.err.splitlines() if "warning" in line]
    assert "mixed.smi: 2 of 125 rows repeat a molecule and are merged" in merged
    assert warning.startswith("ketformer: warning: 3 of 125 SMILES")
    assert "line 121" in warning
    assert "'C('" in warning


# --- Conditions ----------------------------------------------------------------------------------


def assert_statistics(run, expected):
    """``config.json`` holds these names, and numpy's mean and deviation of their values."""
    config = read(run / "config.json")
    assert config["condition_names"] == list(expected)
    means = [np.nanmean(training_part(values)) for values in expected.values()]
    stds = [np.nanstd(training_part(values)) for values in expected.values()]
    assert config["condition_means"] == pytest.approx(means, rel=1e-9, abs=1e-12)
    assert config["condition_stds"] == pytest.approx(stds, rel=1e-9)


def of_each(smiles, compute):
    return [(text, compute(Chem.MolFromSmiles(text))) for text in smiles]


def test_two_properties_are_standardised_by_the_training_part(conditional, smiles):
    assert_statistics(
        conditional,
        {
            "LogP": of_each(smiles, Crippen.MolLogP),
            "TPSA": of_each(smiles, rdMolDescriptors.CalcTPSA),
        },
    )


def test_all_is_the_nine_properties(train):
    config = read(train("--conditions", "all") / "config.json")
    assert config["condition_names"] == NINE
    assert len(config["condition_means"]) == len(config["condition_stds"]) == 9
    assert config["condition_means"][NINE.index("MW")] == pytest.approx(56, abs=5)


def test_a_column_of_the_file_with_gaps_beside_a_property(train, table, smiles):
    options = ("--data", table, "--column", "structure", "--conditions", "score,TPSA")
    scores = [np.nan if i % 5 == 0 else 3.5 * (i % 7) for i in range(len(smiles))]
    assert_statistics(
        train(*options),
        {
            "score": list(zip(smiles, scores, strict=True)),
            "TPSA": of_each(smiles, rdMolDescriptors.CalcTPSA),
        },
    )


def test_conditions_in_their_own_units(train):
    run = train("--conditions", "LogP,MW", "--standardise_conditions", "false")
    config = read(run / "config.json")
    assert (config["condition_means"], config["condition_stds"]) == ([0, 0], [1, 1])


def test_a_stopped_conditional_run_resumes_bit_for_bit(ketformer, tiny_molecules, tmp_path):
    options = ("--conditions", "LogP,TPSA", "--condition_pdrop", 0.5, "--embd_pdrop", 0.1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert ketformer("train", tiny_molecules, "--out", whole, *options).code == 0
    with cut_off(27):
        assert ketformer("train", tiny_molecules, "--out", parts, *options).code == 130
    assert not (parts / "model.safetensors").exists()
    assert ketformer("train", "--out", parts, "--resume").code == 0
    assert largest_difference(whole, parts) == 0
    assert without_times(metrics(whole)) == without_times(metrics(parts))


# --- Mechanisms and the loss ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attention", "options"),
    [
        ("overlap", {"angles": "embedding", "n_qubits": 6}),
        ("overlap", {"angles": "hidden", "n_qubits": 3, "learnable_temperature": True}),
        ("classical_eq", {"features": "embedding"}),
        ("classical_eq", {}),
        ("classical", {}),
        ("qisa", {}),
    ],
    ids=str,
)
def test_each_mechanism_learns_with_conditions(train, attention, options):
    run = train(
        "--attention", attention, "--attention_options", json.dumps(options),
        "--conditions", "LogP", "--max_steps", 25,
    )  # fmt: skip
    losses = [row["loss"] for row in metrics(run) if "loss" in row]
    assert losses[-1] < losses[0] - 0.5
    manifest = read(run / "manifest.json")
    assert (manifest["attention"], manifest["causal"]) == (attention, True)


@pytest.mark.parametrize("count_padding", ["false", "true"])
def test_the_loss_counts_padding_only_if_told(train, smiles, count_padding):
    run = train("--count_padding", count_padding, "--per_device_eval_batch_size", 64)
    model = AutoModelForCausalLM.from_pretrained(run).eval()
    tokenizer = AutoTokenizer.from_pretrained(run)
    n = len(smiles)
    order = np.random.default_rng(42).permutation(n)[int(0.9 * n) : int(0.95 * n)]
    losses = []
    for i in order:  # the validation part
        ids = torch.tensor(tokenizer(sorted(smiles)[i] + tokenizer.eos_token).input_ids)
        if count_padding == "true":
            ids = F.pad(ids, (0, 14 - len(ids)), value=tokenizer.pad_token_id)
        with torch.no_grad():
            logits = model(ids[None, :-1]).logits[0]
        losses.append(F.cross_entropy(logits, ids[1:], reduction="none"))
    logged = [row["eval_loss"] for row in metrics(run) if "eval_loss" in row]
    assert logged[-1] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)


# --- Mistakes ------------------------------------------------------------------------------------


def test_a_table_without_the_column(refused, table):
    refused("--data", table, told="no columns are called smiles")
    refused("--data", table, "--column", "SMILES", told="no columns are called 'SMILES'")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.smi", "", "the file has no molecules"),
        ("empty.csv", "", "the file has no molecules"),
        ("header.csv", "smiles,LogP\n", "the file has no molecules"),
        ("words.smi", "hello\nworld\n", "no SMILES that RDKit can read; line 1: 'hello'"),
        ("few.smi", "C\nCC\nCCC\n", "3 molecules are too few"),
        ("ragged.csv", "smiles,a\nC,1,2\n", "line 2 has 3 fields, but the header has 2"),
        ("molecules.sdf", "C\n", "no SMILES that RDKit can read; line 1"),
        ("molecules.xlsx", "C\n", "molecule files end in"),
    ],
)
def test_a_file_without_molecules_to_train_on(refused, tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    refused("--data", tmp_path / name, told=told)


def test_a_file_that_is_not_there(refused):
    refused("--data", "nope.csv", told="no molecule set or file 'nope.csv'")


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ("name", "line 2: name is 'molecule 0, small', not a number"),
        ("LogP,nope", "no columns are called 'nope'"),
        ("tpsaa", "no columns are called 'tpsaa'"),
        ("rdkit:nope", "RDKit's properties have no 'nope'"),
        ("column:LogP", "no columns are called 'LogP'"),
        ("LogP,LogP", "distinct names"),
        ("LogP,", "distinct names"),
    ],
)
def test_conditions_that_are_not_there(refused, table, conditions, told):
    refused("--data", table, "--column", "structure", "--conditions", conditions, told=told)


def test_a_list_has_no_columns(refused):
    refused("--conditions", "LogP,score", told="a list of SMILES without a header has no columns")
    refused("--column", "smiles", told="a list of SMILES without a header has no columns")
    refused("--data", "embedded", "--conditions", "score", told="have no columns")


def test_options_of_a_file_that_are_none(refused, table):
    refused("--data", table, "--decimal", ";", told="decimal")
    refused("--data", table, "--replicates", "last", told="replicates")
    refused("--data", table, "--delimiter", "tabs", told="delimiter must be one character")
    refused("--data", table, "--encoding", "klingon", told="unknown encoding 'klingon'")


def test_a_condition_that_does_not_vary(refused, tmp_path):
    rows = [f"{'C' * n},7,{n if n > 999 else ''}" for n in range(1, 12)]
    (tmp_path / "same.csv").write_text("\n".join(["smiles,same,unknown", *rows]) + "\n")
    for name in ("same", "unknown", "nRing"):
        told = f"{name} does not vary in the training molecules"
        refused("--data", tmp_path / "same.csv", "--conditions", name, told=told)


def test_all_conditions_go_without_what_does_not_vary(ketformer, tmp_path):
    """A preset asks for all nine; the user's chains have no rings and no stereocentres."""
    rows = [f"{'C' * n}{end}" for n in range(1, 12) for end in ("O", "N", "C(=O)O", "F")]
    (tmp_path / "chains.smi").write_text("\n".join(rows))
    options = ("--data", tmp_path / "chains.smi", "--max_steps", 2, "--out", tmp_path / "run")
    done = ketformer("train", "overlap-small", *options)
    assert done.code == 0, done.err
    (warning,) = [line for line in done.err.splitlines() if "warning" in line]
    assert "conditions 'all' go without what does not vary in the training molecules" in warning
    assert "nRing (it is 0 in each), StereoCenters (it is 0 in each)" in warning
    seven = [name for name in NINE if name not in ("nRing", "StereoCenters")]
    config = read(tmp_path / "run/config.json")
    assert config["condition_names"] == seven
    values = [Crippen.MolLogP(Chem.MolFromSmiles(smiles)) for smiles in rows]
    low, high = config["condition_ranges"][seven.index("LogP")]
    assert min(values) <= low < high <= max(values)
    settings = yaml.safe_load((tmp_path / "run/settings.yaml").read_text())
    assert settings["conditions"] == "all,-nRing,-StereoCenters"
    again = ketformer("train", "--out", tmp_path / "run", "--resume", "--max_steps", 3)
    assert again.code == 0, again.err
    assert "does not vary" not in again.err
    other = tmp_path / "alkanes.smi"  # where HBA does not vary either, but the model has it
    other.write_text("\n".join("C" * n for n in range(1, 13)))
    evaluate = ("--data", other, "--samples", 0, "--split", "train")
    assert ketformer("evaluate", tmp_path / "run", *evaluate).code == 0


def test_a_condition_can_be_left_out_of_all(train, refused):
    run = train("--conditions", "all,-StereoCenters,-MW")
    assert read(run / "config.json")["condition_names"] == NINE[1:-1]
    refused("--conditions", "all,-nope", told="'all,-nope' do not have nope to leave out")
    refused("--conditions", "LogP,-LogP,-MW", told="do not have MW to leave out")


def test_a_set_in_which_nothing_varies(refused, tmp_path):
    (tmp_path / "same.csv").write_text(
        "smiles,x\n" + "".join(f"{'C' * n},1\n" for n in range(1, 12))
    )
    asked = ("--data", tmp_path / "same.csv", "--conditions")
    refused(*asked, "all,-MW,-LogP,-nRot", told="HBA does not vary in the training molecules of")
    refused(*asked, "LogP,x", told="(it is 1 in each); leave it out of the conditions 'LogP,x'")


@pytest.mark.parametrize(("cell", "told"), [("1e39", "x is 1e+39"), ("-4e38", "x is -4e+38")])
def test_a_value_that_is_infinite_to_a_model(refused, tmp_path, cell, told):
    rows = [f"{'C' * n},{n}" for n in range(1, 12)]
    (tmp_path / "big.csv").write_text("\n".join(["smiles,x", *rows, f"CCO,{cell}"]) + "\n")
    asked = ("--data", tmp_path / "big.csv", "--conditions", "x")
    refused(*asked, told=f"big.csv: line 13: 'CCO': {told}, beyond what a model can read (3.4e+38)")


def test_values_that_single_precision_cannot_tell_apart_do_not_vary(refused, tmp_path):
    rows = [f"{'C' * n},{10**12 + n}" for n in range(1, 12)]
    (tmp_path / "near.csv").write_text("\n".join(["smiles,x", *rows]) + "\n")
    told = "x does not vary in the training molecules"
    refused("--data", tmp_path / "near.csv", "--conditions", "x", told=told)


def test_a_model_that_needs_every_condition_names_the_molecule_without(refused, tmp_path):
    rows = [f"{'C' * n},{n if n != 7 else ''}" for n in range(1, 12)]
    (tmp_path / "gap.csv").write_text("\n".join(["smiles,x", *rows]) + "\n")
    asked = ("--data", tmp_path / "gap.csv", "--conditions", "LogP,x")
    told = "gap.csv: line 8: 'CCCCCCC' has no x, but this model needs every condition"
    refused(*asked, "--condition_unknown", "false", told=told)


def test_marks_are_removed_on_request_and_recorded(train, refused, smiles, tmp_path):
    path = tmp_path / "salts.smi"
    path.write_text("\n".join([*smiles[:60], "CC[NH3+].[Cl-]", "[CH3:1][OH:2]"]))
    run = train("--data", path, "--standardise", "charges,salts")
    data = read(run / "manifest.json")["data"]
    assert data["removed"] == {"atom maps": 1, "salts": 1, "charges": 1}
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    assert settings["standardise"] == "charges,salts"
    plain = read(train("--data", path, out="plain") / "manifest.json")["data"]
    assert plain["removed"] == {"atom maps": 1}
    assert plain["molecules"] - data["molecules"] == ("CCN" in smiles[:60])
    refused("--data", path, "--standardise", "salt", told="standardise can remove salts, charges")


def test_a_molecule_longer_than_the_context(refused):
    told = "the longest molecule has 12 tokens, 13 with [CLS]: more than max_position_embeddings 12"
    refused("--max_position_embeddings", 12, told=told)


def test_the_longest_molecule_that_fits(train):
    assert read(train("--max_position_embeddings", 13) / "config.json")


def test_what_would_hide_conditions_that_must_be_known(refused):
    options = ("--conditions", "LogP", "--condition_pdrop", 0.2, "--condition_unknown", "false")
    refused(*options, told="condition_pdrop hides conditions")


def test_a_text_and_a_task_that_do_not_fit(ketformer, tmp_path, text):
    settings = write_molecule_settings(tmp_path / "odd.yaml", text)
    ketformer("train", settings, "--out", tmp_path / "run").assert_mistake("no SMILES that RDKit")
    assert not (tmp_path / "run").exists()


# --- Random SMILES -------------------------------------------------------------------------------


def test_random_smiles_are_the_same_after_a_resume(ketformer, tmp_path):
    """Stopped in the second epoch of three batches each, between two checkpoints."""
    data = tmp_path / "few.smi"
    data.write_text("\n".join("C" * n + f"(C)CN{'O' * (n % 2)}" for n in range(1, 54)))
    options = {
        "randomise_smiles": True,
        "model": {"attention": "classical", "attention_options": {}, "max_position_embeddings": 64},
        "training": {"max_steps": 6, "per_device_train_batch_size": 16, "save_steps": 2},
    }
    settings = write_molecule_settings(tmp_path / "few.yaml", data, **options)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert ketformer("train", settings, "--out", whole).code == 0
    with cut_off(5):
        assert ketformer("train", settings, "--out", parts).code == 130
    assert ketformer("train", "--out", parts, "--resume").code == 0
    assert largest_difference(whole, parts) == 0
    plain = ketformer("train", settings, "--randomise_smiles", "false", "--out", tmp_path / "plain")
    assert plain.code == 0
    assert largest_difference(whole, tmp_path / "plain") > 0
    changed = ("--out", parts, "--resume", "--max_steps", 8, "--randomise_smiles", "false")
    ketformer("train", *changed).assert_mistake("begun with another randomise_smiles")
    assert yaml.safe_load((whole / "settings.yaml").read_text())["tokenizer"] == "smiles"


def test_random_smiles_are_for_molecules_alone(ketformer, tiny, tmp_path):
    told = "randomise_smiles does not apply to a model of text"
    out = ("--out", tmp_path / "run")
    ketformer("train", tiny, "--randomise_smiles", "true", *out).assert_mistake(told)
