"""Top-10 AUC, against PMO's definition computed step by step."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ketformer.optimisation import top_auc
from ketformer.optimisation.efficiency import top_means

SCORES = st.lists(st.floats(0, 1), max_size=460)


def directly(scores, budget, top, every=100):
    """The curve drawn through 0, its values after each 100 calls and after the last, integrated."""
    places = [*range(every, len(scores), every), len(scores)]
    heights = [np.mean(sorted(scores[:place])[-top:]) if scores else 0 for place in places]
    return np.trapezoid([0, *heights, heights[-1]], [0, *places, budget]) / budget


@given(SCORES, st.integers(0, 300), st.sampled_from([1, 10, 100]))
def test_the_area_is_that_of_the_curve(scores, left, top):
    budget = len(scores) + left or 1
    assert top_auc(scores, budget, top) == pytest.approx(directly(scores, budget, top))


def test_known_areas():
    # Everything from the first 100 calls on: a triangle is missing in the beginning.
    assert top_auc([1.0] * 10_000, 10_000) == pytest.approx(1 - 50 / 10_000)
    # Padded with the last value.
    assert top_auc([0.5] * 100, 1_000) == pytest.approx((25 + 450) / 1_000)
    assert top_auc([], 100) == 0
    # What comes after the budget does not count.
    assert top_auc([0.0] * 100 + [1.0] * 900, 100) == 0


@given(SCORES)
def test_means_never_fall_once_there_are_enough(scores):
    means = top_means(scores, 10)
    assert means == sorted(means)
    assert len(means) == -(-len(scores) // 100)
