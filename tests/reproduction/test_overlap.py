"""``ketformer reproduce overlap`` and ``compare`` on molecules: the published table and ours."""

import json
import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ketformer.cli.reproduce as verb
import ketformer.comparison.jobs as jobs
from commands import reproduce, reproduction
from ketformer.cli import main
from report_page import Page

ROWS = ["overlap", "classical", "classical_eq"]
ROWS = [f"{name}_{kind}" for kind in ("sequence", "conditions") for name in ROWS]
# The paper's table 1: recorded losses and, for the conditional models, the samples.
PUBLISHED = {
    "overlap_sequence": {"loss": 0.6344},
    "classical_sequence": {"loss": 0.632},
    "classical_eq_sequence": {"loss": 0.63882},
    "overlap_conditions": {
        "loss": 0.39707, "validity": 0.505, "uniqueness": 0.388, "novelty": 0.696,
    },
    "classical_conditions": {
        "loss": None, "validity": 0.385, "uniqueness": 0.48, "novelty": 0.712,
    },
    "classical_eq_conditions": {
        "loss": None, "validity": 0.507, "uniqueness": 0.4, "novelty": 0.704,
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _few_samples():
    """40 molecules for each model instead of 10,000, and 4 for each target instead of 1,000."""
    with pytest.MonkeyPatch.context() as patch:
        few = partial(verb.reproduce_overlap, samples=40, targets=4)
        patch.setattr(verb, "reproduce_overlap", few)
        patch.setattr(jobs, "evaluate", partial(_evaluate, jobs.evaluate))
        yield


def _evaluate(evaluate, run, **options):
    return evaluate(run, **{"samples": 40, **options})


@pytest.fixture(scope="module")
def args(smi, tmp_path_factory):
    """A reproduction of three steps, already run once."""
    return reproduce("overlap", smi, tmp_path_factory.mktemp("reproduce"), max_steps=3, seeds=2)


@pytest.fixture
def result(args):
    return reproduction(args)


# --- Reproduction --------------------------------------------------------------------------------


def test_six_models_each_beside_what_was_published(result):
    assert {row["name"]: row["published"] for row in result["rows"]} == PUBLISHED
    assert [row["name"] for row in result["rows"]] == ROWS
    assert result["paper"] == "arXiv 2502.19214"
    assert result["gradient"] == "exact"
    for row in result["rows"]:
        for curve in ("loss_by_position", "prefix_loss_by_position"):
            assert len(row[curve]) > 5


def test_the_sequence_models_take_every_seed_and_the_conditional_ones_one(result):
    for row in result["rows"]:
        seeds = 2 if row["name"].endswith("sequence") else 1
        assert row["seeds"] == seeds
        assert len(row["loss_as_published"]["values"]) == seeds
        # Scores scaled by the batch are still causal: no later token is seen.
        assert row["causal"] is True


def test_sizes_and_settings_are_the_published_ones(result, args):
    # 47,704 and 48,307 with 33 tokens; here there are 19. Each token takes 64 + 64 weights, a
    # bias, and a row of the narrow table of angles.
    sizes = {row["name"]: row["parameters"] for row in result["rows"]}
    lost = 33 - 19
    for name in ("overlap", "classical_eq"):
        assert sizes[f"{name}_sequence"] == 47_704 - lost * (129 + 3)
        assert sizes[f"{name}_conditions"] == 48_307 - lost * (129 + 2)
    settings = result["settings"]
    assert (settings["split"], settings["count_padding"]) == ("published", True)
    assert settings["training"]["per_device_train_batch_size"] == 256
    for name in ROWS:
        config = json.loads(Path(args[-1], f"{name}-seed42/config.json").read_text())
        assert config["max_position_embeddings"] == 24
        if name.endswith("conditions"):
            assert len(config["condition_names"]) == 9
            assert config["condition_stds"] == [1] * 9  # in their own units
            assert config["condition_unknown"] is False
            scaled = config["attention_options"].get("published_scaling", False)
            assert scaled is (name == "overlap_conditions")
        else:
            assert config["condition_names"] is None


def test_the_conditional_models_are_asked_for_eighteen_targets(result):
    for row in result["rows"]:
        targets = row.get("target_errors")
        if row["name"].endswith("conditions"):
            assert len(targets) == 18
            assert {target["sampled"] for target in targets} == {4}
        else:
            assert targets is None


def test_a_second_call_trains_nothing_and_prints_the_table(ketformer, args, result, monkeypatch):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    shown = ketformer(*args)
    assert shown.code == 0
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()}
    assert set(ROWS) <= lines.keys()
    for row in result["rows"]:
        published = row["published"]
        loss = "–" if published["loss"] is None else f"{published['loss']:.3f}"
        ours = f"{row['loss_as_published']['mean']:.3f}"
        cells = lines[row["name"]].split()
        assert cells[1:5] == [f"{row['parameters']:,}", str(row["seeds"]), loss, ours]
        if "validity" in published:
            shares = [f"{published[k]:.3f}" for k in ("validity", "uniqueness", "novelty")]
            assert " / ".join(shares) in lines[row["name"]]


def test_some_rows_are_made_alone_and_keep_the_whole_table(ketformer, args, result, monkeypatch):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    chosen = ("classical_conditions", "overlap_sequence")
    done = ketformer(*args, "--rows", *chosen, "--json")
    assert [row["name"] for row in done.json["rows"]] == ["overlap_sequence", chosen[0]]
    assert done.json["rows"][0]["loss"] == result["rows"][0]["loss"]
    with open(f"{args[-1]}/reproduction.json", encoding="utf-8") as file:
        assert json.load(file) == result


def test_the_angles_can_be_trained_by_spsa(ketformer, args, result, tmp_path):
    rows = ("--rows", "overlap_sequence", "classical_sequence", "--gradient", "spsa")
    options = (*args[2:6], "--seeds", 1, "--out", tmp_path / "spsa", "--json")
    done = ketformer("reproduce", "overlap", *options, *rows)
    assert done.code == 0, done.err
    assert done.json["gradient"] == "spsa"
    overlap, classical = done.json["rows"]
    assert overlap["attention_options"]["gradient"] == "spsa"
    exact = {row["name"]: row["loss"]["values"][0] for row in result["rows"]}
    assert overlap["loss"]["mean"] != exact["overlap_sequence"]
    assert classical["loss"]["mean"] == exact["classical_sequence"]  # it has no such angles
    assert not (tmp_path / "spsa/reproduction.json").exists()


@pytest.mark.parametrize(
    ("paper", "options", "told"),
    [
        ("overlap", ("--rows", "overlap"), "unknown row overlap; known: overlap_sequence"),
        ("overlap", ("--gradient", "shift"), "gradient must be exact or spsa, got 'shift'"),
        ("overlap", ("--seeds", 0), "seeds must be positive"),
        ("overlap", ("--data", "nope.smi"), "'nope.smi'"),
        ("overlap", ("--max_steps", 0), "max_steps"),
        ("qisa", ("--rows", "overlap_sequence"), "unknown row overlap_sequence; known: classical"),
        ("qisa", ("--gradient", "spsa"), "--gradient is for the paper overlap"),
    ],
    ids=str,
)
def test_mistakes(ketformer, smi, tmp_path, paper, options, told):
    data = () if "--data" in options else ("--data", smi)
    done = ketformer("reproduce", paper, *data, *options, "--out", tmp_path / "out")
    done.assert_mistake(told)
    assert not (tmp_path / "out").exists()


# --- Comparison ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tiny_molecules, tmp_path_factory):
    """The folder of a finished comparison of two mechanisms on molecules."""
    out = tmp_path_factory.mktemp("compare") / "done"
    options = ["--preset", tiny_molecules, "--seeds", "2", "--conditions", "LogP", "--rates", "1"]
    options += ["--targets", "5", "--out", str(out), "--json"]
    assert main(["compare", "overlap", "classical", *options]) == 0
    return out


def test_the_sizes_are_matched(compared):
    overlap, classical = json.loads((compared / "comparison.json").read_text())["rows"]
    assert classical["parameters"] == pytest.approx(overlap["parameters"], rel=0.02)
    assert overlap["intermediate_size"] == 64
    assert classical["intermediate_size"] != 64


def test_rows_hold_what_the_runs_were_measured_to_be(compared):
    result = json.loads((compared / "comparison.json").read_text())
    for row in result["rows"]:
        measured = [
            json.loads((compared / f"{row['name']}-seed{seed}/evaluation.json").read_text())
            for seed in (42, 43)
        ]
        for metric in ("loss", "prefix_loss", "token_accuracy", "validity", "uniqueness", "snn"):
            assert row[metric]["values"] == [evaluation[metric] for evaluation in measured]
        assert row["target_errors"] == measured[0]["target_errors"]
        assert len(row["target_errors"]) == 2
        assert row["causal"] is True
        assert row["relative_inference_time"] > 0


def test_the_table_and_the_page_show_both(ketformer, tiny_molecules, compared, monkeypatch):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    options = ("--preset", tiny_molecules, "--seeds", 2, "--conditions", "LogP", "--targets", 5)
    options += ("--rates", 1)
    shown = ketformer("compare", "overlap", "classical", *options, "--out", compared).out
    result = json.loads((compared / "comparison.json").read_text())
    table = shown.partition("Against overlap, seed by seed")[0].splitlines()
    lines = {line.split()[0]: line for line in table if line.strip()}
    for row in result["rows"]:
        for value in (f"{row['loss']['mean']:.3f} ±", f"{row['validity']['mean']:.3f}", "yes"):
            assert value in lines[row["name"]]
    page = (compared / "report.html").read_text(encoding="utf-8")
    assert [row[0] for row in Page(page).table] == ["overlap", "classical"]
    figures = [
        {word.strip() for word in ElementTree.fromstring(figure).itertext()}
        for figure in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    ]
    assert any({"overlap", "classical"} <= words for words in figures)
    drawn = {text for words in figures for text in words} | set(Page(page).words)
    sampled = {text for row in result["rows"] for text in row["sample"].split("\n")}
    assert drawn & sampled  # a grid of molecules, each with its SMILES
