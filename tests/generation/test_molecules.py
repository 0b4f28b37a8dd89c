"""``ketformer generate`` of molecules: files that agree with the numbers, and with RDKit."""

import json
import shutil

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from rdkit import Chem, rdBase
from rdkit.Chem import Crippen, rdMolDescriptors
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import rows_of, write_molecule_settings

COUNTS = {"sampled", "validity", "uniqueness", "novelty", "valid", "unique", "novel"}


@pytest.fixture
def generate(ketformer):
    """``generate(run, "--num", 5)``: the JSON on standard output, which holds nothing else."""

    def call(run, *options):
        done = ketformer("generate", run, "--json", *options)
        assert done.code == 0, done.err
        assert done.out.count("\n") == 1
        return done.json

    return call


def canonical(smiles):
    """RDKit's canonical SMILES; None if the text is not a molecule."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return Chem.MolToSmiles(molecule) if molecule else None


def warnings_of(done):
    """What a command warned of, but for how few samples of a tiny model are valid."""
    lines = [line for line in done.err.splitlines() if "warning" in line]
    return [line for line in lines if "of the samples are valid molecules" not in line]


def read_config(run):
    return json.loads((run / "config.json").read_text())


@pytest.fixture
def written(generate, molecules, tmp_path):
    """300 molecules in files: the JSON output, and the rows of the CSV."""
    said = generate(molecules, "--num", 300, "--out", tmp_path / "new" / "all.csv")
    return said, rows_of(said["csv"])


# --- Files and numbers ---------------------------------------------------------------------------


def test_the_table_agrees_with_the_numbers(written, smiles):
    said, rows = written
    assert said.keys() >= COUNTS
    trained = {
        sorted(smiles)[i] for i in np.random.default_rng(42).permutation(738)[: int(0.9 * 738)]
    }
    found = [canonical(row["smiles"]) for row in rows]
    valid = [text for text in found if text]
    distinct = set(valid)
    novel, untrained = distinct - set(smiles), distinct - trained
    assert len(rows) == said["sampled"] == 300
    assert (said["valid"], said["unique"], said["novel"]) == (
        len(valid), len(distinct), len(novel),
    )  # fmt: skip
    # So that the numbers differ.
    assert 0 < len(novel) < len(untrained) < len(distinct) < len(valid) < 300
    assert said["not_in_training"] == len(untrained)
    assert said["novelty_to_training"] == pytest.approx(len(untrained) / len(distinct))
    assert said["validity"] == pytest.approx(len(valid) / 300)
    assert said["uniqueness"] == pytest.approx(len(distinct) / len(valid))
    assert said["novelty"] == pytest.approx(len(novel) / len(distinct))
    seen = set()
    for row, text in zip(rows, found, strict=True):
        assert row["canonical_smiles"] == (text or "")
        assert row["valid"] == ("true" if text else "false")
        assert row["duplicate"] == ("true" if text in seen else "false")
        assert row["novel"] == ("true" if text in novel else "false")
        assert row["in_training"] == ("true" if text in trained else "false")
        seen |= {text} - {None}


def test_the_table_has_the_properties_of_the_valid(written):
    for row in written[1]:
        if row["valid"] == "true":
            molecule = Chem.MolFromSmiles(row["smiles"])
            logp, tpsa = Crippen.MolLogP(molecule), rdMolDescriptors.CalcTPSA(molecule)
            assert float(row["LogP"]) == pytest.approx(logp, rel=1e-4, abs=1e-4)
            assert float(row["TPSA"]) == pytest.approx(tpsa, rel=1e-4)
        else:
            assert row["LogP"] == row["MW"] == ""


def test_the_sdf_holds_each_distinct_molecule_once(written):
    said, rows = written
    read = list(Chem.SDMolSupplier(said["sdf"]))
    assert None not in read
    distinct = list(dict.fromkeys(filter(None, (canonical(row["smiles"]) for row in rows))))
    assert [Chem.MolToSmiles(molecule) for molecule in read] == distinct
    assert len(read) == said["unique"]
    assert float(read[0].GetProp("LogP")) == pytest.approx(Crippen.MolLogP(read[0]), abs=1e-4)


def test_the_picture_shows_something(written):
    picture = imread(written[0]["grid"])[..., :3]
    assert picture.max() == 1  # paper
    assert 0.005 < (picture < 0.9).any(-1).mean() < 0.3  # ink


def test_nothing_valid_leaves_a_table_alone(generate, molecules, tmp_path):
    options = ("--num", 2, "--temperature", 1e6, "--out", tmp_path / "t.csv")  # random tokens
    for seed in range(20):
        said = generate(molecules, *options, "--seed", seed)
        if not said["valid"]:
            break
        (tmp_path / "t.sdf").unlink()
        (tmp_path / "t.png").unlink()
    assert said["valid"] == said["unique"] == said["novel"] == 0
    assert said["uniqueness"] is said["novelty"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv"}


# --- Conditions ----------------------------------------------------------------------------------


def test_requested_properties_are_in_the_table(generate, conditional, tmp_path):
    wish = ("--condition", "LogP=2.0", "TPSA=60")
    said = generate(conditional, "--num", 100, *wish, "--out", tmp_path / "wanted.csv")
    rows = rows_of(said["csv"])
    assert {(row["requested_LogP"], row["requested_TPSA"]) for row in rows} == {("2", "60")}
    for name, target in (("LogP", 2.0), ("TPSA", 60.0)):
        values = [float(row[name]) for row in rows if row["valid"] == "true"]
        error = said["requested"][name]
        assert (error["target"], error["count"]) == (target, len(values))
        assert error["mean"] == pytest.approx(np.mean(values), rel=1e-4)
        expected = np.mean([abs(value - target) for value in values])
        assert error["mae"] == pytest.approx(expected, rel=1e-4)


def test_a_wish_out_of_reach_is_told_before_sampling(ketformer, conditional):
    asked = ("--num", 5, "--condition", "LogP=1e6", "TPSA=30")
    done = ketformer("generate", conditional, *asked)
    assert done.code == 0
    (warning,) = warnings_of(done)
    assert "LogP=1e+06 is out of reach: the training data range from " in warning
    assert "standard deviations above their mean" in warning
    low, high = read_config(conditional)["condition_ranges"][0]
    assert f"from {low:.4g} to {high:.4g}" in warning
    near = ketformer("generate", conditional, "--num", 5, "--condition", f"LogP={high}")
    assert "out of reach" not in near.err


def test_a_wish_changes_what_is_written(generate, conditional):
    logp = []
    for wish in ("LogP=-2", "LogP=2"):
        options = ("--num", 300, "--condition", wish)
        logp.append(generate(conditional, *options)["requested"]["LogP"]["mean"])
    assert logp[0] < logp[1] - 0.3  # half of a standard deviation of the molecules


def test_without_a_wish_there_are_no_requested_columns(written):
    assert not [name for name in written[1][0] if name.startswith("requested")]


def test_a_model_that_needs_every_condition_says_which(ketformer, tiny_molecules, tmp_path):
    options = ("--conditions", "LogP,MW", "--condition_unknown", "false", "--max_steps", 2)
    assert ketformer("train", tiny_molecules, *options, "--out", tmp_path / "run").code == 0
    half = ketformer("generate", tmp_path / "run", "--condition", "LogP=1")
    half.assert_mistake("needs every condition; missing: MW")
    whole = ketformer("generate", tmp_path / "run", "--condition", "LogP=1", "MW=50", "--num", 5)
    assert whole.code == 0


# --- Sampling ------------------------------------------------------------------------------------


def test_a_seed_repeats_and_another_differs(generate, molecules):
    first, again, other = (generate(molecules, "--num", 50, "--seed", s) for s in (1, 1, 2))
    assert first == again
    assert first["molecules"] != other["molecules"]


@pytest.mark.parametrize("wish", [(), ("--condition", "LogP=1")], ids=["free", "conditional"])
def test_the_cache_changes_nothing_but_the_time(generate, conditional, tmp_path, wish):
    for use in ("true", "false"):
        out = tmp_path / f"{use}.csv"
        generate(conditional, *wish, "--num", 200, "--use_cache", use, "--out", out)
    assert (tmp_path / "true.csv").read_bytes() == (tmp_path / "false.csv").read_bytes()


@torch.no_grad()
def test_temperature_0_takes_the_most_likely_token(generate, molecules, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(molecules).eval()
    tokenizer = AutoTokenizer.from_pretrained(molecules)
    ids = [tokenizer.bos_token_id]
    while ids[-1] != tokenizer.eos_token_id and len(ids) <= 16:
        logits = model(torch.tensor([ids])).logits[0, -1]
        logits[[tokenizer.bos_token_id, tokenizer.pad_token_id]] = -torch.inf
        ids.append(int(logits.argmax()))
    expected = "".join(tokenizer.convert_ids_to_tokens(ids)).split("[EOS]")[0]
    generate(molecules, "--num", 3, "--temperature", 0, "--out", tmp_path / "x.csv")
    greedy = [row["smiles"] for row in rows_of(tmp_path / "x.csv")]
    assert greedy == [expected.removeprefix("[CLS]")] * 3
    generate(molecules, "--num", 3, "--top_k", 1, "--out", tmp_path / "x.csv")
    assert [row["smiles"] for row in rows_of(tmp_path / "x.csv")] == greedy


@pytest.mark.parametrize("options", [(), ("--use_cache", "false"), ("--condition", "LogP=1")])
def test_a_prompt_begins_every_molecule(generate, molecules, conditional, tmp_path, options):
    run = conditional if "--condition" in options else molecules
    said = generate(run, "--num", 40, "--prompt", "N(", *options, "--out", tmp_path / "x.csv")
    sampled = [row["smiles"] for row in rows_of(tmp_path / "x.csv")]
    assert said["prompt"] == "N("
    assert all(text.startswith("N(") for text in sampled)
    assert len(set(sampled)) > 10
    assert max(map(len, sampled)) > len("N(")


def test_a_prompt_is_continued_as_the_model_alone_would(generate, molecules, tmp_path):
    generate(molecules, "--num", 1, "--temperature", 0, "--out", tmp_path / "x.csv")
    (whole,) = (row["smiles"] for row in rows_of(tmp_path / "x.csv"))
    for length in (1, 2):
        options = ("--num", 1, "--temperature", 0, "--prompt", whole[:length])
        generate(molecules, *options, "--out", tmp_path / "y.csv")
        assert [row["smiles"] for row in rows_of(tmp_path / "y.csv")] == [whole]


def test_special_tokens_are_written_only_if_allowed(generate, molecules, tmp_path):
    texts = {}
    for allowed in ("false", "true"):
        options = ("--temperature", 3, "--num", 200, "--special_tokens", allowed)
        generate(molecules, *options, "--out", tmp_path / "x.csv")
        texts[allowed] = " ".join(row["smiles"] for row in rows_of(tmp_path / "x.csv"))
    assert "[CLS]" not in texts["false"]
    assert "<pad>" not in texts["false"]
    assert "<pad>" in texts["true"]


def test_without_json_ten_molecules_and_the_numbers_are_printed(ketformer, generate, conditional):
    options = ("--num", 100, "--condition", "LogP=1")
    said = generate(conditional, *options)
    shown = ketformer("generate", conditional, *options).out.splitlines()
    assert shown[:10] == said["molecules"][:10]
    facts = dict(line.split() for line in shown[11:] if len(line.split()) == 2)
    assert facts["valid"] == str(said["valid"])
    assert facts["validity"] == f"{said['validity']:.4f}"
    assert shown[-1].startswith("LogP: requested 1, mean ")


# --- Training data that is gone ------------------------------------------------------------------


def test_without_the_training_data_novelty_is_not_known(ketformer, smiles, tmp_path):
    data = tmp_path / "own.smi"
    data.write_text("\n".join(smiles[:200]))
    settings = write_molecule_settings(tmp_path / "own.yaml", data, training={"max_steps": 30})
    assert ketformer("train", settings, "--out", tmp_path / "run").code == 0
    known = ketformer("generate", tmp_path / "run", "--num", 50, "--json").json
    assert known["novelty"] is not None
    for change, told in (
        (lambda: data.write_text("\n".join(smiles[:190])), "has changed since training"),
        (data.unlink, "no molecule set or file"),
    ):
        change()
        out = tmp_path / "x.csv"
        done = ketformer("generate", tmp_path / "run", "--num", 50, "--out", out, "--json")
        assert done.code == 0
        (warning,) = warnings_of(done)
        assert "novelty is not known" in warning
        assert told in warning
        assert done.json["novelty"] is done.json["novel"] is None
        assert done.json["valid"] == known["valid"] > 0
        assert done.json["novelty_to_training"] is done.json["not_in_training"] is None
        assert {row["novel"] + row["in_training"] for row in rows_of(out)} == {""}


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--condition", "MW=50"), "has no condition MW; its conditions: LogP, TPSA"),
        (("--condition", "LogP"), "NAME=NUMBER, got 'LogP'"),
        (("--condition", "LogP=x"), "NAME=NUMBER, got 'LogP=x'"),
        (("--condition", "LogP=nan"), "NAME=NUMBER, got 'LogP=nan'"),
        (("--condition", "LogP=inf"), "NAME=NUMBER, got 'LogP=inf'"),
        (("--condition", "=2"), "NAME=NUMBER, got '=2'"),
        (("--condition", "LogP=1", "LogP=2"), "LogP is given twice"),
        (("--num", 0), "num must be positive, got 0"),
        (("--num", -5), "num must be positive"),
        (("--temperature", -1), "temperature"),
        (("--temperature", "nan"), "temperature"),
        (("--top_k", -1), "top_k"),
        (("--top_p", 0), "top_p"),
        (("--seed", -1), "seed"),
        (("--prompt", "C["), "cannot begin with this prompt: character '[' (U+005B) at position 1"),
        (("--prompt", "CC[Zr]"), "token '[Zr]' at position 2 of 'CC[Zr]' is not in the voc"),
        (("--prompt", "[EOS]"), "special token [EOS]"),
        (("--prompt", "C" * 20), "the prompt has 20 tokens, but "),
        (("--max_new_tokens", 5), "--max_new_tokens does not apply to it"),
        (("--num_beams", 2), "--num_beams does not apply to it"),
    ],
    ids=str,
)
def test_mistakes_leave_nothing_behind(ketformer, conditional, tmp_path, options, told):
    out = tmp_path / "new" / "x.csv"
    ketformer("generate", conditional, *options, "--out", out, "--json").assert_mistake(told)
    assert not out.parent.exists()


def test_the_file_must_be_a_table(ketformer, molecules, tmp_path):
    for name in ("x.txt", "x", "x.sdf"):
        options = ("--num", 5, "--out", tmp_path / name)
        ketformer("generate", molecules, *options).assert_mistake("--out must be a .csv file")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_conditions_says_so(ketformer, molecules):
    wish = ("--condition", "LogP=1")
    ketformer("generate", molecules, *wish).assert_mistake("it was trained without any")


@pytest.mark.parametrize(
    "options", [("--condition", "LogP=1"), ("--special_tokens", "true"), ("--jobs", "2")]
)
def test_what_is_for_molecules_is_refused_for_text(ketformer, honest, options):
    told = f"a text model; {options[0]} does not apply to it"
    ketformer("generate", honest, *options).assert_mistake(told)


def test_a_failed_call_keeps_the_table_of_an_earlier_one(ketformer, generate, molecules, tmp_path):
    generate(molecules, "--num", 5, "--out", tmp_path / "x.csv")
    before = (tmp_path / "x.csv").read_bytes()
    ketformer("generate", molecules, "--num", 0, "--out", tmp_path / "x.csv").assert_mistake("num")
    assert (tmp_path / "x.csv").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_run_without_a_tokenizer_is_a_mistake(ketformer, molecules, tmp_path):
    run = shutil.copytree(molecules, tmp_path / "run")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (run / name).unlink()
    ketformer("generate", run).assert_mistake(str(run))
    assert json.loads((molecules / "config.json").read_text())["vocab_size"] == 19
