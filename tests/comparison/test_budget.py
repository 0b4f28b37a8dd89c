"""What a budget buys, decided from made-up costs."""

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.comparison.budget import SEEDS, Cost, plan, seconds_of
from ketformer.errors import KetformerError


def costs(count, step=0.1, evaluation=10.0):
    return [Cost(f"row{i}", step, evaluation) for i in range(count)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("45", 2700), ("1.5 h", 5400),
     ("20min", 1200), (" 1H ", 3600)],
)  # fmt: skip
def test_budgets_as_people_write_them(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0m", "-3m", "30x", "m", "1e99h", "nan"])
def test_other_budgets_are_refused_in_one_line(text):
    with pytest.raises(KetformerError, match="written like 30m") as caught:
        seconds_of(text)
    assert "\n" not in str(caught.value)


@settings(max_examples=200)
@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_refused(text):
    try:
        found = seconds_of(text)
    except KetformerError:
        found = 1.0
    assert 0 < found < 1e9


@settings(max_examples=200)
@given(
    count=st.integers(2, 12),
    minutes=st.floats(5, 500),
    processes=st.integers(1, 8),
    whole=st.integers(20, 5000),
)
def test_a_plan_keeps_within_the_budget_and_its_rows_in_order(count, minutes, processes, whole):
    rows = costs(count)
    try:
        chosen = plan(rows, 60 * minutes, processes=processes, whole=whole)
    except KetformerError as error:
        assert "minutes at least" in str(error)  # noqa: PT017
        return
    assert chosen.expected <= 60 * minutes
    assert chosen.rows + chosen.left_out == [row.name for row in rows]
    assert len(chosen.rows) >= 2
    assert chosen.steps <= whole
    assert chosen.seeds >= SEEDS
    if chosen.left_out:  # a longer training is not bought with a control
        assert chosen.seeds == SEEDS


def test_controls_go_before_steps_become_too_few():
    everything = plan(costs(8), 36_000, processes=2, whole=3000)
    assert everything.left_out == []
    some = plan(costs(8), 900, processes=2, whole=3000)
    assert 0 < len(some.left_out) < 6
    assert some.steps >= 300


def test_money_left_over_buys_seeds():
    assert plan(costs(2), 36_000, processes=2, whole=300).seeds == 10


def test_what_is_trained_longer_costs_more():
    once, twice = Cost("a", 0.1, 5.0), Cost("a", 0.1, 5.0, longer=2.0)
    assert twice.seconds(100, 5) - once.seconds(0, 5) == 2 * (
        once.seconds(100, 5) - once.seconds(0, 5)
    )


def test_too_small_a_budget_says_what_it_takes():
    with pytest.raises(KetformerError, match=r"row0 and row1 need about \d+ minutes at least"):
        plan(costs(3), 60, processes=1, whole=3000)
