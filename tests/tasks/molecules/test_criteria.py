"""Filters and ranks as users write them."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.criteria import Criterion, Key, parse_filter, parse_rank, ranked
from ketformer.tasks.molecules.descriptors import COUNTS, DESCRIPTORS

SIGNS = st.sampled_from(["<", "<=", ">", ">="])
NUMBERS = st.floats(-1e6, 1e6).map(lambda number: float(f"{number:.15g}"))
CRITERIA = st.lists(
    st.builds(Criterion, st.sampled_from(list(DESCRIPTORS)), SIGNS, NUMBERS)
    | st.builds(
        Criterion, st.sampled_from(sorted(COUNTS)), st.sampled_from(["=", "==", "!="]), NUMBERS
    ),
    min_size=1,
)
BETWEEN = st.sampled_from([" ", ", ", ";", " & ", " and ", " AND "])


@given(CRITERIA, BETWEEN, st.sampled_from(["", " "]))
def test_what_is_written_is_read(criteria, between, room):
    written = between.join(f"{c.name}{room}{c.sign}{room}{c.bound:.15g}" for c in criteria)
    assert parse_filter(written) == criteria
    assert parse_filter(written.lower()) == criteria
    assert parse_filter(" ".join(map(str, criteria))) == criteria


@given(st.text("QEDSA<>=!0.5 ,;&and-+e", max_size=24))
def test_whatever_is_written_it_is_read_or_told(text):
    try:
        criteria = parse_filter(text)
    except KetformerError:
        return
    assert parse_filter(" ".join(map(str, criteria))) == criteria


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "an empty filter"),
        ("QED>", "cannot read 'QED>'"),
        ("QED>0.5x", "cannot read 'QED>0.5x'"),
        ("SA<4 0.5<QED", "cannot read '0.5<QED'"),
        ("SA<4 QET>1", "no property 'QET'; known: MW, HBA"),
        ("QET>1", "did you mean 'QED'"),
        ("logp=2", "LogP is no whole number"),
        ("MW<1e999", "the number must be finite"),
        ("similarity<0.9", "no property 'similarity'"),
    ],
)
def test_a_mistake_is_one_line(text, told):
    with pytest.raises(KetformerError, match=r"^[^\n]+$") as said:
        parse_filter(text)
    assert told in str(said.value)


@given(SIGNS, NUMBERS, st.lists(NUMBERS | st.just(math.nan), max_size=5))
def test_a_criterion_compares_as_python_does(sign, bound, values):
    expected = [eval(f"x {sign} y", {"x": x, "y": bound}) for x in values]
    assert Criterion("MW", sign, bound).met(np.array(values)).tolist() == expected


def test_weight_is_another_name():
    assert parse_filter("weight<300") == [Criterion("MW", "<", 300.0)]


def test_ranks_have_an_end_where_none_is_better():
    known = [*DESCRIPTORS, "request"]
    assert parse_rank(["request", "qed", "SA", "MW:low"], known) == [
        Key("request", False), Key("QED", True), Key("SA", False), Key("MW", False),
    ]  # fmt: skip
    for items, told in [
        (["MW"], "write MW:high or MW:low"),
        (["QED:up"], "QED:high or QED:low, got 'QED:up'"),
        (["QED", "qed:low"], "ranked by QED twice"),
        (["magic"], "no property 'magic'"),
    ]:
        with pytest.raises(KetformerError, match=told):
            parse_rank(items, known)


def test_the_best_comes_first_and_equal_ones_keep_their_order():
    high, low = Key("QED", True), Key("SA", False)
    assert ranked({high: np.array([0.1, 0.9, math.nan, 0.9])}, 4).tolist() == [1, 3, 0, 2]
    assert ranked({}, 3).tolist() == [0, 1, 2]
    # Ranks 3, 1, 2 and 1, 3, 2: all sums are 4.
    both = {high: np.array([0.1, 0.9, 0.5]), low: np.array([1.0, 3.0, 2.0])}
    assert ranked(both, 3).tolist() == [0, 1, 2]
    # Ranks 3, 1, 2 and 1, 2, 3: sums 4, 3, 5.
    both[low] = np.array([1.0, 2.0, 30.0])
    assert ranked(both, 3).tolist() == [1, 0, 2]
