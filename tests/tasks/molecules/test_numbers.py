"""The cells of a column: what is a number, and what is told about the others."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.numbers import decimal_mark, number, read_numbers

HERE = Path("a.csv")


def read(cells, decimal="."):
    """The values, and the lines told about them, of cells from line 2 on."""
    return read_numbers(HERE, "y", cells, range(2, len(cells) + 2), decimal)


def test_cells_that_are_no_plain_number_are_counted_and_named_with_their_lines():
    cells = ["1", "> 10", "NA", "n.d.", "", "2 nM", "see note", "3.5 ± 0.2", "<0,5", "4", "-", "5"]
    values, notes = read(cells)
    known = {0: 1, 7: 3.5, 9: 4, 11: 5}
    assert {i: v for i, v in enumerate(values) if not math.isnan(v)} == known
    assert notes == [
        "y: values taken without their uncertainty: 1 ('3.5 ± 0.2' in line 9)",
        "y: 7 of 12 values are no plain number and count as unknown: "
        "2 qualified ('> 10' in line 3, '<0,5' in line 10), "
        "3 missing ('NA' in line 4, 'n.d.' in line 5, '-' in line 12), "
        "1 text ('see note' in line 8), 1 with a unit ('2 nM' in line 7)",
    ]


def test_a_typographic_minus_is_a_minus():
    assert read(["\N{MINUS SIGN}1,5", "2"], ",") == ([-1.5, 2], [])


def test_more_than_three_are_not_all_named():
    _, (note,) = read(["1", *["NA"] * 5])
    assert note.endswith("5 missing ('NA' in line 3, 'NA' in line 4, 'NA' in line 5, …)")


def test_values_that_all_have_one_unit_are_in_that_unit():
    assert read(["5.2 uM", "", "7uM", "1e3 uM"]) == (
        [5.2, pytest.approx(math.nan, nan_ok=True), 7, 1000],
        ["y: all 3 values are in uM"],
    )
    for mixed in (["5.2 uM", "7 nM"], ["5.2 uM", "7 uM", "8"]):
        values = []
        try:
            values, _ = read(mixed)
        except KetformerError as error:
            assert "line 2: y is '5.2 uM', not a number" in str(error)  # noqa: PT017
        assert all(math.isnan(value) or value == 8 for value in values)


def test_a_column_of_texts_is_an_error():
    with pytest.raises(KetformerError, match=r"a\.csv: line 2: y is 'red', not a number"):
        read(["red", "NA", "3", "blue"])


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(finite, st.sampled_from([".", ","]), st.sampled_from(["{!r}", "{:.6f}", "{:e}", "{:,.3f}"]))
def test_any_number_is_read_as_it_was_written(value, decimal, form):
    text = form.format(value)
    swapped = text.translate(str.maketrans(",.", ".,")) if decimal == "," else text
    read_back = number(swapped, decimal)
    expected = float(text.replace(",", ""))
    assert read_back == (expected if math.isfinite(expected) else None)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sampled_from([".", ","]), st.integers(1, 6))
def test_the_decimal_mark_is_recognised_or_asked_for(values, decimal, places):
    cells = [f"{value:.{places}f}".replace(".", decimal) for value in values]
    try:
        assert decimal_mark(HERE, {"y": cells}, range(len(cells)), None) == decimal
    except KetformerError as error:
        assert "--decimal" in str(error)  # noqa: PT017
        assert decimal == ","
        assert places == 3
    assert decimal_mark(HERE, {"y": cells}, range(len(cells)), decimal) == decimal


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["5,0"], ","), (["1.234,5"], ","), (["1.234.567"], ","), (["0,500"], ","),
        (["1,234", "5,2"], ","), (["> 10,5"], ","), (["5,2 uM"], ","),
        (["1,234.5"], "."), (["1,234,567"], "."), (["5"], "."), (["a,b"], "."), ([], "."),
        (["1,234"], None), (["1,5", "1.5"], None), (["1,234", "1.5"], None),
    ],
)  # fmt: skip
def test_decimal_marks(cells, mark):
    if mark:
        assert decimal_mark(HERE, {"y": cells}, range(len(cells)), None) == mark
    else:
        with pytest.raises(KetformerError, match="decimal mark with --decimal"):
            decimal_mark(HERE, {"y": cells}, range(len(cells)), None)


def test_another_decimal_mark_is_an_error():
    with pytest.raises(KetformerError, match=r"decimal must be \. or ,"):
        decimal_mark(HERE, {}, [], ";")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=8) | st.from_regex(r"[<>~]? ?[0-9.,]{1,5} ?(±|uM|nM|%)?")))
def test_any_cells_are_read_or_refused_in_one_line(cells):
    try:
        values, notes = read(cells)
    except KetformerError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(values) == len(cells)
        assert not any(math.isinf(value) for value in values)
        assert not any("\n" in note for note in notes)
