"""Intervals and paired tests, against scipy and by hand."""

import pytest
from hypothesis import given, strategies as st
from scipy import stats

from ketformer.comparison import paired, summarise
from ketformer.comparison.statistics import compare_to_first


@pytest.mark.parametrize("n", range(2, 32))
def test_intervals_are_students(n):
    values = [(7 * i * i % 11) / 10 for i in range(n)]
    mean, error = sum(values) / n, stats.sem(values)
    low, high = stats.t.interval(0.95, n - 1, loc=mean, scale=error)
    found = summarise(values)
    assert found["values"] == values
    assert (found["low"], found["mean"], found["high"]) == pytest.approx((low, mean, high))


def test_one_seed_has_no_interval():
    assert summarise([2.5]) == {"mean": 2.5, "low": None, "high": None, "values": [2.5]}
    assert paired([2.5], [2.0]) == {
        "difference": 0.5, "low": None, "high": None, "p_value": None
    }  # fmt: skip


def test_a_missing_value_leaves_nothing_to_say():
    assert summarise([1.0, None]) == {
        "mean": None, "low": None, "high": None, "values": [1.0, None]
    }  # fmt: skip
    assert set(paired([1.0, None], [1.0, 2.0]).values()) == {None}


NUMBERS = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=8))
def test_the_paired_test_is_one_of_the_differences(pairs):
    differences = [a - b for a, b in pairs]
    found = paired(*zip(*pairs, strict=True))
    assert found["difference"] == pytest.approx(sum(differences) / len(pairs))
    if max(differences) - min(differences) > 1e-6:  # scipy warns of less
        one_sample = stats.ttest_1samp(differences, 0)
        interval = one_sample.confidence_interval(0.95)
        assert found["p_value"] == pytest.approx(one_sample.pvalue, rel=1e-6, abs=1e-12)
        assert (found["low"], found["high"]) == pytest.approx(
            (interval.low, interval.high), rel=1e-6, abs=1e-9
        )


def test_what_a_seed_does_to_both_cancels():
    reference, values = [1.0, 5.0, 9.0], [1.1, 5.2, 9.15]
    assert paired(values, reference)["p_value"] < 0.05
    assert stats.ttest_ind(values, reference).pvalue > 0.9


def test_equal_differences_have_no_p():
    found = paired([2.0, 3.0], [1.0, 2.0])
    assert found == {"difference": 1.0, "low": 1.0, "high": 1.0, "p_value": None}


def rows_with(*columns):
    return [{"name": str(i), "loss": summarise(values)} for i, values in enumerate(columns)]


def test_holm_by_hand():
    rows = rows_with([1, 2, 3], [1.1, 2.2, 3.15], [2, 2.5, 3.1], [1.01, 1.99, 3.2], [2, 3, 4])
    compare_to_first(rows, ["loss"])
    assert rows[0]["paired"] is None
    raw = [row["paired"]["loss"]["p_value"] for row in rows[1:]]
    adjusted = [row["paired"]["loss"]["p_adjusted"] for row in rows[1:]]
    assert raw[3] is None  # exactly one more for each seed
    assert adjusted[3] is None
    first, second, third = sorted(raw[:3])
    by_hand = {first: min(3 * first, 1)}
    by_hand[second] = max(by_hand[first], min(2 * second, 1))
    by_hand[third] = max(by_hand[second], third)
    assert adjusted[:3] == [by_hand[p] for p in raw[:3]]
    assert adjusted[0] > raw[0]
