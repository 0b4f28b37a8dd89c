"""``--early_stopping_patience``: training ends when the validation loss no longer falls."""

import json

import pytest

from commands import cut_off, largest_difference, metrics, without_times

# The rate makes the loss fall at first and then rise.
OPTIONS = ("--early_stopping_patience", 2, "--eval_steps", 2, "--save_steps", 4)
OPTIONS += ("--max_steps", 60, "--learning_rate", 0.3, "--save_total_limit", 2)


def losses(run):
    return {row["step"]: row["eval_loss"] for row in metrics(run) if "eval_loss" in row}


@pytest.fixture(scope="module")
def stopped(trained_once, tiny):
    return trained_once("stopped-early", tiny, *map(str, OPTIONS))


def test_it_stops_says_so_and_keeps_the_best_weights(ketformer, stopped):
    found = losses(stopped)
    best = min(found, key=found.get)
    stopping = json.loads((stopped / "manifest.json").read_text())["early_stopping"]
    assert stopping == {
        "patience": 2, "stopped_early": True, "best_step": best, "step": best + 4
    }  # fmt: skip
    assert max(found) == best + 4 < 60
    assert f"those of step {best}" in (stopped / "README.md").read_text()
    at_the_end = ketformer("train", "--out", stopped, "--resume", "--json").json
    assert (at_the_end["stopped_early"], at_the_end["best_step"]) == (True, best)
    assert at_the_end["steps"] == best + 4  # no further step
    assert at_the_end["eval_loss"] == found[best]
    measured = ketformer("evaluate", stopped, "--split", "validation", "--json").json
    assert measured["cross_entropy"] == pytest.approx(found[best], rel=1e-4)


def test_resumed_it_stops_where_it_would_have(ketformer, tiny, stopped, tmp_path):
    """It is cut off between the two evaluations that lead to the stop."""
    last = max(losses(stopped))
    with cut_off(last - 1):
        assert ketformer("train", tiny, *OPTIONS, "--out", tmp_path / "run").code == 130
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
    assert largest_difference(stopped, tmp_path / "run") == 0
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(stopped))


def test_more_patience_goes_on(ketformer, stopped):
    last = max(losses(stopped))
    given = ("--resume", "--early_stopping_patience", 3, "--json")
    assert ketformer("train", "--out", stopped, *given).json["steps"] > last


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--early_stopping_patience", 0), "must be at least 1"),
        (("--early_stopping_patience", 2, "--load_best_model_at_end", "false"), "leave out load"),
        (("--early_stopping_patience", 2, "--greater_is_better", "true"), "a lower loss"),
        (("--early_stopping_patience", 2, "--eval_strategy", "no"), "eval"),
    ],
)
def test_what_does_not_go_with_it_is_refused(ketformer, tiny, tmp_path, options, said):
    ketformer("train", tiny, *options, "--out", tmp_path / "out").assert_mistake(said)
    assert not (tmp_path / "out").exists()
