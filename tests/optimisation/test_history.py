"""Scores, the diversity filter and the memory."""

import math

import pytest

from ketformer.errors import KetformerError
from ketformer.optimisation.history import Call, History
from ketformer.optimisation.options import Optimisation, usual_range
from ketformer.tasks.molecules.oracles import Oracle, load_oracle


def history_of(*rows, **how):
    """A history of (name, value, scaffold)."""
    calls = [Call(name, value, "", scaffold, [3]) for name, value, scaffold in rows]
    return History(Optimisation(**how), calls)


def test_a_scaffold_with_too_many_good_molecules_is_neither_rewarded_nor_replayed():
    rows = [("a", 0.9, "x"), ("b", 0.8, "x"), ("c", 0.3, "x"), ("d", 0.5, "y")]
    before = history_of(*rows, bucket_size=2)
    assert [before.reward(name) for name in "abcd"] == [0.9, 0.8, 0.3, 0.5]
    assert before.memory() == [0, 1, 3, 2]
    after = history_of(*rows, ("e", 0.4, "x"), bucket_size=2)
    assert [after.reward(name) for name in "abcde"] == [0, 0, 0, 0.5, 0]
    assert after.memory() == [3]
    assert after.ranked() == [0, 1, 3, 4, 2]  # the results show them all
    assert (before.scaffolds, after.scaffolds) == (2, 2)


def test_without_a_bucket_size_there_is_no_limit():
    rows = [(str(i), 1.0, "x") for i in range(40)]
    assert len(history_of(*rows, bucket_size=0, memory=30).memory()) == 30


def test_a_failure_scores_nothing_and_is_not_replayed():
    found = history_of(("a", math.nan, "x"), ("b", 0.7, ""))
    assert found.scores == [0, 0.7]
    assert found.memory() == [1]


@pytest.mark.parametrize(
    ("ends", "value", "score"),
    [((0, 5), 2, 0.4), ((0, 5), 7, 1), ((0, 5), -1, 0), ((10, 1), 1, 1), ((10, 1), 5.5, 0.5)],
)
def test_a_range_makes_a_score_of_a_value(ends, value, score):
    assert Optimisation(range=ends).score(value) == pytest.approx(score)


def test_values_outside_the_range_are_counted():
    rows = [("a", 1.5, ""), ("b", 0.5, ""), ("c", math.nan, ""), ("d", -1, "")]
    assert history_of(*rows).beyond == 2


def test_the_usual_ranges():
    assert usual_range(load_oracle("logp")) == (0, 5)
    assert usual_range(load_oracle("sa")) == (10, 1)
    assert usual_range(load_oracle("median1")) == usual_range(Oracle("m:f", len)) == (0, 1)
    with pytest.raises(KetformerError, match="which TPSA is good\\? say with --range"):
        usual_range(load_oracle("tpsa"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0}, "budget must be positive"),
        ({"replay": -1}, "replay must not be negative"),
        ({"sigma": math.nan}, "sigma must be positive"),
        ({"range": (1.0, 1.0)}, "range must be two different finite numbers"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_mistakes_are_refused(wrong, said):
    with pytest.raises(KetformerError, match=said):
        Optimisation(**wrong)
