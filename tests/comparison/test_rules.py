"""The rules of a verdict, on losses whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from ketformer.comparison.rules import judge, on_both_sides
from ketformer.comparison.statistics import holm
from ketformer.errors import KetformerError

SEEDS = 5


def losses(mean, seed, deviation=0.02, seeds=SEEDS):
    """Losses of some seeds, with exactly this mean and about this deviation."""
    noise = np.random.default_rng(seed).normal(size=seeds)
    return list(mean + deviation * (noise - noise.mean()))


def judged(mechanism=2.0, controls=None, reference=2.2, **more):
    rows = {
        name: (f"what {name} is", losses(mean, 10 + i))
        for i, (name, mean) in enumerate((controls or {}).items())
    }
    return judge(("m", losses(mechanism, 1)), ("classical", losses(reference, 2)), rows, **more)


# --- The four answers ----------------------------------------------------------------------------


def test_a_leak_is_a_leak_whatever_the_loss():
    found = judged(mechanism=0.1, leak="m leaks: changing token 3 changes position 2.")
    assert (found.answer, found.explained_by) == ("leaks", [])
    assert found.sentence == "m leaks: changing token 3 changes position 2."


@pytest.mark.parametrize("mean", [2.2, 2.195, 2.3])
def test_no_gain_says_what_would_have_shown(mean):
    found = judged(mechanism=mean, controls={"twin": 2.2})
    assert (found.answer, found.explained_by) == ("no gain", [])
    assert found.sentence.startswith("No gain: m has ")
    assert f"{found.smallest_difference:.3f}" in found.sentence
    assert found.attribution[0].share is None


def test_a_gain_is_explained_by_the_control_that_has_it():
    found = judged(controls={"twin": 2.01, "other": 2.19})
    assert (found.answer, found.explained_by) == ("explained", ["twin"])
    twin, other = found.attribution
    assert twin.share == pytest.approx(0.95)
    assert other.share == pytest.approx(0.05)
    assert twin.low < twin.share < twin.high
    assert "Gain explained by twin: m has -0.200 nats per token" in found.sentence
    assert "of which twin accounts for 95 %" in found.sentence


def test_the_largest_share_comes_first():
    found = judged(controls={"good": 2.02, "best": 1.99})
    assert found.explained_by == ["best", "good"]


def test_a_gain_that_no_control_has_is_not_explained():
    found = judged(controls={"one": 2.2, "two": 2.15})
    assert (found.answer, found.explained_by) == ("not explained", [])
    assert "the best of 2 controls, two, accounts for 25 %" in found.sentence


def test_most_of_the_gain_is_not_enough_if_the_mechanism_still_beats_it():
    found = judged(mechanism=1.2, controls={"near": 1.5})
    near = found.attribution[0]
    assert near.share == pytest.approx(0.7)
    assert near.p < 0.05
    assert found.answer == "not explained"


def test_without_controls_a_gain_is_not_explained():
    assert judged().answer == "not explained"
    assert judged().sentence.endswith("no control was run.")


# --- The numbers ---------------------------------------------------------------------------------


def test_difference_and_interval_are_those_of_the_paired_test():
    mechanism, reference = losses(2.1, 1), losses(2.2, 2)
    found = judge(("m", mechanism), ("classical", reference), {})
    test = stats.ttest_rel(mechanism, reference)
    assert found.p == pytest.approx(test.pvalue)
    assert found.difference == pytest.approx(-0.1)
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.seeds == SEEDS


def test_controls_are_adjusted_for_each_other_and_hide_no_gain():
    mechanism, reference = losses(2.15, 1), losses(2.2, 2)
    alone = judge(("m", mechanism), ("classical", reference), {})
    among = judge(
        ("m", mechanism),
        ("classical", reference),
        {str(i): ("same", reference) for i in range(4)},
    )
    assert among.p == alone.p < 0.05
    assert [share.p for share in among.attribution] == pytest.approx([4 * alone.p] * 4)


def test_a_change_to_both_sides_has_what_it_takes_away_of_the_gain():
    """The mechanism with it is best of all, and still it explains a half at most."""
    mechanism, reference = losses(2.0, 1), losses(2.2, 2)
    changed, beside = losses(1.8, 3, deviation=0.002), losses(1.86, 4, deviation=0.002)
    control = on_both_sides(mechanism, changed, beside)
    found = judge(("m", mechanism), ("classical", reference), {"both": ("", control)})
    (both,) = found.attribution
    assert both.share == pytest.approx(0.7)
    assert both.difference == pytest.approx(-0.06)
    assert both.p == pytest.approx(stats.ttest_rel(changed, beside).pvalue)
    assert found.answer == "not explained"  # the gain that is left is sure
    taken = on_both_sides(mechanism, beside, beside)
    found = judge(("m", mechanism), ("classical", reference), {"both": ("", taken)})
    assert found.attribution[0].share == pytest.approx(1)
    assert found.explained_by == ["both"]


def test_the_smallest_difference_is_found_with_80_percent_power():
    """By simulation: a true difference of that size is significant in four cases out of five."""
    mechanism, reference = np.array(losses(2.0, 1)), np.array(losses(2.0, 2))
    found = judge(("m", mechanism), ("classical", reference), {})
    deviation = (mechanism - reference).std(ddof=1)
    drawn = np.random.default_rng(0).normal(
        -found.smallest_difference, deviation, size=(20_000, SEEDS)
    )
    p = stats.ttest_1samp(drawn, 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_null_comparisons_say_no_gain():
    """The same mechanism twice, with other seeds: at most one in twenty may be a gain."""
    rng = np.random.default_rng(7)
    answers = []
    for _ in range(400):
        rows = rng.normal(2.0, 0.02, size=(4, SEEDS))
        controls = {"a": ("", rows[2]), "b": ("", rows[3])}
        answers.append(judge(("m", rows[0]), ("classical", rows[1]), controls).answer)
    assert answers.count("no gain") >= 0.95 * len(answers)


@settings(max_examples=200)
@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holms_values_are_in_order_and_never_smaller(p_values):
    adjusted = holm(p_values)
    known = [(p, a) for p, a in zip(p_values, adjusted, strict=True) if p is not None]
    assert [a is None for a in adjusted] == [p is None for p in p_values]
    assert all(p <= a <= 1 for p, a in known)
    ordered = [a for _, a in sorted(known)]
    assert ordered == sorted(ordered)
    if known:  # Bonferroni for the smallest
        assert min(a for _, a in known) == pytest.approx(min(1, len(known) * min(known)[0]))


@pytest.mark.parametrize(
    ("mechanism", "reference"), [([2.0], [2.1]), ([2.0, 2.1], [2.0, 2.1, 2.2])]
)
def test_one_seed_or_unequally_many_are_refused(mechanism, reference):
    with pytest.raises(KetformerError, match="two or more seeds"):
        judge(("m", mechanism), ("classical", reference), {})
