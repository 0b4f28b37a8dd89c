"""``ketformer evaluate`` on molecules: the stable keys, and numbers that a plain loop confirms."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from ketformer.comparison.tables import columns_of
from ketformer.evaluation.conditions import mean_target_error

LIKELIHOOD = {
    "run", "weights_sha256", "attention", "parameters", "causal", "data", "split", "part",
    "molecules", "targets", "loss", "prefix_loss", "token_accuracy", "loss_by_position",
    "prefix_loss_by_position",
}  # fmt: skip
# Only of a model that was trained to predict padding.
WITH_PADDING = {"loss_with_padding", "loss_as_published", "token_accuracy_with_padding"}
SAMPLES = {
    "sampled", "valid", "unique", "novel", "validity", "uniqueness", "novelty", "product",
    "in_training", "at", "sampled_at", "snn", "internal_diversity", "fragment_similarity",
    "scaffold_similarity", "fcd", "wasserstein",
}  # fmt: skip
NINE = ["MW", "HBA", "HBD", "nRot", "nRing", "nHet", "TPSA", "LogP", "StereoCenters"]
PROPERTIES = {"LogP": Crippen.MolLogP, "TPSA": rdMolDescriptors.CalcTPSA}
LENGTH = 14  # of a padded row: [CLS], 12 tokens, [EOS]


@pytest.fixture
def evaluate(ketformer):
    """``evaluate(run, "--split", "train")``: the result, without samples by default."""

    def call(run, *options, samples=0):
        given = ("--samples", samples, "--fcd", "false", "--json")
        done = ketformer("evaluate", run, *given, *options)
        assert done.code == 0, done.err
        return done.json

    return call


def parts_of(smiles):
    """The standard split, implemented independently."""
    ordered, n = sorted(smiles), len(smiles)
    shuffled = [ordered[i] for i in np.random.default_rng(42).permutation(n)]
    ends = int(0.9 * n), int(0.95 * n)
    return {
        "train": shuffled[: ends[0]],
        "validation": shuffled[ends[0] : ends[1]],
        "test": shuffled[ends[1] :],
    }


@torch.no_grad()
def plain_loop(run, smiles):
    """Losses and hits, one molecule at a time: for its tokens, and for its padded row."""
    model = AutoModelForCausalLM.from_pretrained(run).eval()
    tokenizer = AutoTokenizer.from_pretrained(run)
    names = model.config.condition_names
    losses, hits, padded, padded_hits = [], [], [], []
    for text in smiles:
        given = {}
        if names:
            values = [PROPERTIES[name](Chem.MolFromSmiles(text)) for name in names]
            given = {"conditions": torch.tensor([values])}
        ids = torch.tensor(tokenizer(text + tokenizer.eos_token).input_ids)
        row = F.pad(ids, (0, LENGTH - len(ids)), value=tokenizer.pad_token_id)
        for tokens, loss, hit in ((ids, losses, hits), (row, padded, padded_hits)):
            logits = model(tokens[None, :-1], **given).logits[0]
            loss.append(F.cross_entropy(logits, tokens[1:], reduction="none").double())
            hit.append((logits.argmax(-1) == tokens[1:]).double())
    return losses, hits, padded, padded_hits


# --- Likelihood ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["molecules", "conditional"])
@pytest.mark.parametrize("part", ["test", "train"])
def test_losses_are_what_a_plain_loop_finds(evaluate, request, smiles, name, part, tmp_path):
    run = shutil.copytree(request.getfixturevalue(name), tmp_path / "run")
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    (run / "settings.yaml").write_text(yaml.safe_dump({**settings, "count_padding": True}))
    result = evaluate(run, "--split", part)
    losses, hits, padded, padded_hits = plain_loop(run, parts_of(smiles)[part])
    assert result.keys() == LIKELIHOOD | WITH_PADDING
    assert (result["part"], result["molecules"]) == (part, len(losses))
    assert result["targets"] == sum(map(len, losses))
    expected = {
        "loss": torch.cat(losses).mean(),
        "prefix_loss": torch.cat(losses).mean(),  # the model sees no future
        "token_accuracy": torch.cat(hits).mean(),
        "loss_with_padding": torch.cat(padded).mean(),
        "token_accuracy_with_padding": torch.cat(padded_hits).mean(),
        "loss_as_published": torch.stack(
            [torch.cat(padded[i : i + 256]).mean() for i in range(0, len(padded), 256)]
        ).mean(),
    }
    for key, value in expected.items():
        assert result[key] == pytest.approx(float(value), abs=1e-5), key
    places = [[loss[i] for loss in losses if len(loss) > i] for i in range(max(map(len, losses)))]
    by_position = [float(torch.stack(place).mean()) for place in places]
    assert result["loss_by_position"] == pytest.approx(by_position, abs=1e-5)
    assert result["prefix_loss_by_position"] == pytest.approx(by_position, abs=1e-5)
    assert result["loss_with_padding"] != pytest.approx(result["loss"], abs=0.1)
    if part == "train":  # 256, 256 and 152 molecules: the last count for more
        gap = abs(result["loss_as_published"] - result["loss_with_padding"])
        assert gap > 1e-4


def test_the_validation_part_agrees_with_training(evaluate, molecules):
    lines = (molecules / "metrics.jsonl").read_text().splitlines()
    logged = [row["eval_loss"] for row in map(json.loads, lines) if "eval_loss" in row]
    result = evaluate(molecules, "--split", "validation")
    # Trainer's mean is over two batches, of 32 and 5 molecules, weighted by molecules.
    assert result["loss"] == pytest.approx(logged[-1], abs=0.02)


def test_limit_takes_the_first_molecules(evaluate, molecules, smiles):
    result = evaluate(molecules, "--limit", 5)
    losses, *_ = plain_loop(molecules, parts_of(smiles)["test"][:5])
    assert result["molecules"] == 5
    assert result["loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)


def test_another_way_to_split_and_another_file(evaluate, molecules, smiles, tmp_path):
    result = evaluate(molecules, "--split", "published")
    assert (result["split"], result["part"], result["molecules"]) == ("published", "test", 36)
    other = tmp_path / "other.smi"
    other.write_text("\n".join(smiles[100:200]))
    result = evaluate(molecules, "--data", other, "--split", "train")
    assert (result["data"], result["molecules"]) == (str(other), 90)


def test_a_file_that_was_held_out_is_measured_as_a_whole(
    ketformer, evaluate, molecules, tiny_molecules, smiles, tmp_path
):
    held_out = tmp_path / "held-out.smi"
    held_out.write_text("\n".join(smiles[:4]))
    result = evaluate(molecules, "--data", held_out, "--split", "all")
    losses, *_ = plain_loop(molecules, smiles[:4])
    assert (result["split"], result["molecules"]) == ("all", 4)
    assert result["loss"] == pytest.approx(float(torch.cat(losses).mean()), abs=1e-5)
    refused = ketformer("train", tiny_molecules, "--split", "all", "--out", tmp_path / "run")
    refused.assert_mistake("--split all holds nothing out, so it is for evaluate alone")


# --- Samples -------------------------------------------------------------------------------------


def test_without_samples_nothing_is_said_of_them(evaluate, molecules):
    assert evaluate(molecules).keys() == LIKELIHOOD


def test_the_stable_keys(evaluate, molecules):
    result = evaluate(molecules, samples=120)
    assert result.keys() >= LIKELIHOOD | SAMPLES
    assert result["causal"] is True
    assert (result["sampled"], result["sampled_at"], result["fcd"]) == (120, None, None)
    assert result["validity"] == result["valid"] / 120
    assert list(result["wasserstein"]) == NINE
    assert all(distance >= 0 for distance in result["wasserstein"].values())


def test_samples_are_those_of_generate(ketformer, evaluate, molecules):
    result = evaluate(molecules, samples=150)
    generated = ketformer("generate", molecules, "--num", 150, "--json").json
    for key in ("valid", "unique", "novel", "product", "in_training"):
        assert result[key] == generated[key]


def test_the_distance_to_a_property_is_scipys(ketformer, evaluate, molecules, smiles):
    from scipy.stats import wasserstein_distance

    generated = ketformer("generate", molecules, "--num", 150, "--json").json["molecules"]
    logp = [
        [Crippen.MolLogP(Chem.MolFromSmiles(text)) for text in side]
        for side in (generated, parts_of(smiles)["test"])
    ]
    distance = evaluate(molecules, samples=150)["wasserstein"]["LogP"]
    assert distance == pytest.approx(wasserstein_distance(*logp), rel=1e-9)


# --- Targets -------------------------------------------------------------------------------------


def test_two_targets_for_each_of_nine_properties(ketformer, evaluate, tiny_molecules, tmp_path):
    options = ("--conditions", "all", "--condition_pdrop", 0.5, "--max_steps", 30)
    assert ketformer("train", tiny_molecules, *options, "--out", tmp_path / "run").code == 0
    result = evaluate(tmp_path / "run", "--targets", 15)
    assert [row["property"] for row in result["target_errors"]] == [
        n for n in NINE for _ in range(2)
    ]
    config = json.loads((tmp_path / "run/config.json").read_text())
    for i, (mean, std) in enumerate(
        zip(config["condition_means"], config["condition_stds"], strict=True)
    ):
        low, high = result["target_errors"][2 * i : 2 * i + 2]
        assert low["target"] == pytest.approx(mean - 2 * std, rel=1e-4, abs=1e-4)
        assert high["target"] == pytest.approx(mean + 2 * std, rel=1e-4, abs=1e-4)
        assert low["std"] == high["std"] == pytest.approx(std, rel=1e-4)
        assert low["sampled"] == high["sampled"] == 15


def test_a_target_is_what_generate_is_asked_for(ketformer, evaluate, conditional):
    result = evaluate(conditional, "--targets", 60)
    rows = result["target_errors"]
    relative = [row["mae"] / row["std"] for row in rows]
    assert result["target_error"] == pytest.approx(sum(relative) / 4)
    assert [row["property"] for row in rows] == ["LogP", "LogP", "TPSA", "TPSA"]
    request = ("--condition", f"LogP={rows[0]['target']!r}")
    generated = ketformer("generate", conditional, *request, "--num", 60, "--json").json
    assert rows[0]["mae"] == generated["requested"]["LogP"]["mae"]
    assert rows[0]["novelty"] == generated["novelty"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"mae": 3.0, "std": 2.0}, {"mae": 1.0, "std": 2.0}], 1.0),
        ([{"mae": 3.0, "std": 2.0}, {"mae": None, "std": 2.0}], None),
        ([{"mae": 0.0, "std": 0.0}], None),
    ],
)
def test_the_mean_error_counts_every_target_or_is_not_defined(rows, expected):
    assert mean_target_error(rows) == expected


def test_a_comparison_has_a_column_of_errors_where_targets_were_requested():
    settings = {"task": "molecules"}
    rows = [{"name": "classical", "target_error": {"mean": None}}]
    titles = [title for title, _ in columns_of({"settings": settings, "rows": rows})]
    assert "target error" not in titles
    rows.append({"name": "overlap", "target_error": {"mean": 0.5}})
    assert ("target error", "target_error") in columns_of({"settings": settings, "rows": rows})


# --- What is kept and shown ----------------------------------------------------------------------


def test_only_an_evaluation_of_the_whole_test_part_is_kept(evaluate, molecules, tmp_path):
    run = shutil.copytree(molecules, tmp_path / "run")
    (run / "evaluation.json").unlink(missing_ok=True)
    evaluate(run, "--split", "train")
    evaluate(run, "--limit", 5)
    assert not (run / "evaluation.json").exists()
    result = evaluate(run)
    assert json.loads((run / "evaluation.json").read_text()) == result


def test_without_json_there_is_a_line_for_each_number(ketformer, evaluate, conditional):
    options = ("--samples", 60, "--fcd", "false", "--targets", 20)
    shown = ketformer("evaluate", conditional, *options).out
    facts = dict(line.rsplit(maxsplit=1) for line in shown.splitlines())
    result = evaluate(conditional, "--targets", 20, samples=60)
    facts = {name.strip(): value for name, value in facts.items()}
    assert facts["loss"] == f"{result['loss']:.4f}"
    assert facts["wasserstein LogP"] == f"{result['wasserstein']['LogP']:.4f}"
    row = result["target_errors"][3]
    assert facts[f"mae of TPSA at {row['target']:.3g}"] == f"{row['mae']:.4f}"


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--limit", 0), "limit must be positive"),
        (("--samples", -1), "must not be negative"),
        (("--targets", -1), "must not be negative"),
        (("--split", "nope"), "unknown split 'nope'"),
        (("--data", "nope.smi"), "no molecule set or file 'nope.smi'"),
    ],
    ids=str,
)
def test_mistakes(ketformer, molecules, options, told):
    ketformer("evaluate", molecules, *options).assert_mistake(told)


def test_targets_need_conditions(ketformer, molecules):
    done = ketformer("evaluate", molecules, "--samples", 0, "--targets", 5)
    assert (done.code, done.out) == (2, "")
    assert "no condition that can be computed" in done.err.splitlines()[-1]


def test_a_token_that_the_model_never_saw_is_named(ketformer, molecules, tmp_path):
    (tmp_path / "other.smi").write_text("\n".join(["C" * n for n in range(1, 40)] + ["CBr"]))
    options = ("--data", tmp_path / "other.smi", "--samples", 0)
    ketformer("evaluate", molecules, *options).assert_mistake("token 'Br'", "'CBr'")


def test_a_molecule_longer_than_the_context_is_one_line(ketformer, molecules, tmp_path):
    (tmp_path / "other.smi").write_text("\n".join("C" * n for n in range(1, 60)))
    options = ("--data", tmp_path / "other.smi", "--samples", 0)
    done = ketformer("evaluate", molecules, *options)
    assert (done.code, done.out) == (2, "")
    assert "context of 16" in done.err.splitlines()[-1]


def test_data_that_changed_since_training_is_refused(ketformer, molecules, smi, tmp_path):
    run = shutil.copytree(molecules, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data"]["sha256"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    ketformer("evaluate", run, "--samples", 0).assert_mistake("SHA-256")
