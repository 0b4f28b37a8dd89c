"""``ketformer reproduce qisa``: the claim next to ours, and a verdict from our numbers."""

import csv
import re

import pytest

from commands import reproduce, reproduction, somebody_in
from ketformer.reproduction.qisa import QISA_ROWS, verdict

LEAKY = {"classical_transposed", "qisa_published", "qisa_a_published"}


@pytest.fixture(scope="module")
def args(text, tmp_path_factory):
    """A reproduction of four steps, already run once."""
    return reproduce("qisa", text, tmp_path_factory.mktemp("reproduce"), max_steps=4, seeds=1)


@pytest.fixture
def result(args):
    return reproduction(args)


def test_each_row_has_its_role_and_the_audit_its_say(result):
    assert {row["name"]: row["role"] for row in result["rows"]} == {
        "classical": "baseline",
        "classical_transposed": "control: classical with the leak",
        "qisa_published": "as published",
        "qisa_causal": "leak mended",
        "qisa": "ours",
        "qisa_a_published": "as published",
        "qisa_a_causal": "leak mended",
        "qisa_a": "ours",
        "qsann": "baseline",
    }
    assert {row["name"] for row in result["rows"] if not row["causal"]} == LEAKY
    for row in result["rows"]:
        if row["causal"]:
            losses = row["cross_entropy"]["mean"], row["prefix_cross_entropy"]["mean"]
            assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_sizes_are_those_of_the_published_models(result):
    # Design section 7 counts for 65 symbols; each symbol has 16 + 16 weights and a bias.
    published = {
        "classical": 21_825,
        "qisa_published": 22_017,
        "qisa_causal": 22_017,
        "qisa_a_published": 20_553,
        "qisa_a_causal": 20_553,
    }
    symbols = 18
    for row in result["rows"]:
        if row["name"] in published:
            assert row["parameters"] == published[row["name"]] - (65 - symbols) * 33


def test_the_claim_and_the_ratios_to_classical(result):
    assert result["claim"] == {
        "cross_entropy": 13.0,
        "cer": 15.5,
        "wer": 4.7,
        "relative_inference_time": 2.6,
    }
    classical = result["rows"][0]
    for row in result["rows"]:
        for metric in ("cross_entropy", "prefix_cross_entropy", "cer", "wer"):
            times_lower = classical[metric]["mean"] / row[metric]["mean"]
            assert row["ratio_to_classical"][metric] == pytest.approx(times_lower, rel=1e-12)


def test_the_setting_is_the_published_one_but_for_what_was_changed(result):
    settings = result["settings"]
    assert settings["split"] == "published"
    assert (settings["model"]["hidden_size"], settings["model"]["num_hidden_layers"]) == (16, 6)
    assert settings["training"]["per_device_train_batch_size"] == 128
    assert settings["training"]["max_steps"] == 4


def test_a_second_call_trains_nothing_and_prints_table_and_verdict(
    ketformer, args, result, monkeypatch
):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    shown = ketformer(*args)
    assert shown.code == 0
    first_words = {line.split()[0] for line in shown.out.splitlines() if line.strip()}
    assert {name for name, _, _ in QISA_ROWS} <= first_words
    claim = next(line for line in shown.out.splitlines() if "paper's claim" in line)
    assert re.findall(r"[\d.]+×", claim) == ["13.00×", "15.50×", "4.70×", "2.60×"]
    assert verdict(result) in shown.out


def test_some_rows_are_made_alone_and_keep_the_whole_table(ketformer, args, result, monkeypatch):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    done = ketformer(*args, "--rows", "qisa,qsann", "classical", "--json")
    assert [row["name"] for row in done.json["rows"]] == ["classical", "qisa", "qsann"]
    assert done.json["rows"][1]["ratio_to_classical"] == result["rows"][4]["ratio_to_classical"]
    assert not any("The audit found" in note for note in done.json["notes"])
    assert reproduction(args) == result
    shown = ketformer(*args, "--rows", "qisa,qsann").out
    assert "How many times lower" not in shown  # than a row that is not there
    assert shown.splitlines()[1].split()[0] == "qisa"


def test_the_table_for_a_paper(ketformer, args, monkeypatch, tmp_path):
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    done = ketformer(*args, "--format", "csv", "--plots", tmp_path / "plots")
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["name"] for row in rows] == [name for name, _, _ in QISA_ROWS]
    assert rows[0]["role"] == "baseline"
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        f"{name}.{kind}"
        for name in ("forest-prefix_cross_entropy", "curves-eval_loss", "curves-loss")
        for kind in ("pdf", "svg")
    }


def test_the_verdict_is_made_of_the_result():
    ratios = {
        "classical": 1.0,
        "classical_transposed": 12.34,
        "qisa_published": 11.07,
        "qisa_causal": 0.98,
        "qisa": 1.03,
    }
    rows = [
        {
            "name": name,
            "causal": name not in LEAKY,
            "ratio_to_classical": {"cross_entropy": ratio},
        }
        for name, ratio in ratios.items()
    ]
    said = verdict({"rows": rows})
    assert "classical_transposed, qisa_published see the tokens" in said
    assert re.findall(r"\d+\.\d+", said) == ["11.1", "12.3", "0.98", "1.03"]


def test_mistakes(ketformer, text, tmp_path):
    options = ("--data", text, "--out", tmp_path / "out")
    ketformer("reproduce", "qisa", *options, "--seeds", 0).assert_mistake("seeds")
    ketformer("reproduce", "qisa", *options, "--max_steps", 0).assert_mistake("max_steps")
    ketformer("reproduce", "qisa", "--data", "nope").assert_mistake("'nope'")


@pytest.mark.parametrize("paper", ["qisa", "overlap"])
def test_a_folder_holds_one_reproduction_at_a_time(ketformer, text, tmp_path, paper):
    with somebody_in(tmp_path / "out"):
        done = ketformer("reproduce", paper, "--data", text, "--out", tmp_path / "out")
        done.assert_mistake(f"{tmp_path / 'out'}: in use by process")
    assert not (tmp_path / "out").exists()
