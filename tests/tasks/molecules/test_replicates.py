"""Rows of the same molecule: merged, counted, and their spread."""

import math
import statistics
import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.replicates import MERGES, merged

HOW = {"mean": statistics.mean, "median": statistics.median, "first": lambda values: values[0]}
TABLE = "smiles,y\nCCO,5\nOCC,9\nC(C)O,9\nN,\nN,8.9\nN,8.9\nO,1\nC,\nC(,7\nC,\n"


pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.mark.parametrize(("how", "first"), [("mean", 23 / 3), ("median", 9), ("first", 5)])
def test_the_known_values_of_a_molecule_become_one(file, how, first):
    molecules = load_molecules(file("a.csv", TABLE), numeric=["y"], replicates=how)
    assert molecules.smiles == ["CCO", "N", "O", "C"]
    np.testing.assert_allclose(molecules.columns["y"], [first, 8.9, 1, np.nan], rtol=1e-15)
    assert (molecules.rows, molecules.duplicates, molecules.broken) == (10, 5, 1)
    spread = molecules.spreads["y"]
    assert (spread.replicated, spread.conflicting) == (2, 1)
    assert (spread.largest, spread.largest_range) == ("CCO", 4)
    assert spread.pooled_std == pytest.approx(math.sqrt(2 * statistics.variance([5, 9, 9]) / 3))
    assert molecules.notes == [
        f"5 of 10 rows repeat a molecule and are merged, with the {how} of the known values of "
        "each column",
        "y: 1 of the 2 molecules with several values have conflicting ones (pooled standard "
        "deviation 1.89; they differ most, by 4, for CCO)",
    ]


def test_the_cache_knows_how_they_were_merged(file):
    path = file("a.csv", TABLE)
    values = {how: load_molecules(path, numeric=["y"], replicates=how) for how in MERGES}
    assert len({molecules.columns["y"][0] for molecules in values.values()}) == 3
    again = load_molecules(path, numeric=["y"], replicates="mean")
    assert (again.spreads, again.notes) == (values["mean"].spreads, values["mean"].notes)


def test_without_repeated_molecules_nothing_is_said(file):
    molecules = load_molecules(file("a.csv", "smiles,y\nC,1\nN,2\n"), numeric=["y"])
    assert molecules.notes == []
    assert load_molecules(file("a.smi", "C\nC\n")).notes == [
        "1 of 2 rows repeat a molecule and are merged"
    ]


def test_another_way_to_merge_is_an_error(file):
    with pytest.raises(KetformerError, match="one of mean, median, first, got 'last'"):
        load_molecules(file("a.csv", TABLE), numeric=["y"], replicates="last")


def test_the_facts_hold_the_spread_and_warnings_tell_it(file):
    rows = [f"{'C' * n},{n + k}" for n in range(1, 31) for k in (0, 1)]
    path = file("a.csv", "\n".join(["smiles,y", *rows]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = prepare_molecules(path, conditions="y")
    lines = [str(line.message).removeprefix(f"{path}: ") for line in told]
    assert [line[:9] for line in lines] == ["30 of 60 ", "y: 30 of "]
    assert data.facts["duplicates"] == 30
    assert data.facts["replicates"]["y"]["conflicting"] == 30
    assert data.facts["replicates"]["y"]["pooled_std"] == pytest.approx(math.sqrt(0.5))


def test_replicates_that_only_atom_maps_told_apart(file):
    """The same compound mapped in several ways, with several values."""
    mapped = ["[CH3:1][CH2:2][OH:3],5", "[OH:1][CH2:9][CH3:4],", "[CH3:7]CO,9", "OCC,10"]
    others = [f"{'C' * n},{n}" for n in range(3, 40)]
    path = file("a.csv", "\n".join(["smiles,y", *mapped, *others, "CCO,1e999"]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = prepare_molecules(path, conditions="y")
    source = data.source
    assert source.smiles == ["CCO", *["C" * n for n in range(3, 40)]]
    np.testing.assert_allclose(source.columns["y"], [8, *range(3, 40)], rtol=1e-15)
    assert source.lines == [2, *range(6, 43)]
    assert (source.rows, source.duplicates, source.merged) == (42, 4, 3)
    facts = data.facts
    assert (facts["duplicates"], facts["removed"], facts["merged"]) == (4, {"atom maps": 3}, 3)
    assert (facts["replicates"]["y"]["replicated"], facts["replicates"]["y"]["largest"]) == (
        1, "CCO",
    )  # fmt: skip
    assert facts["replicates"]["y"]["largest_range"] == 5
    lines = [str(line.message).removeprefix(f"{path}: ") for line in told]
    assert "4 of 42 rows repeat a molecule and are merged, with the mean of the known" in lines[1]
    assert lines[2].startswith("y: 1 of the 1 molecules with several values have conflicting ones")
    assert lines[3] == (
        "removed atom maps from 3 of 42 molecules; 3 differed from another only in these and "
        "were merged"
    )
    median = load_molecules(path, numeric=["y"], replicates="median")
    assert (median.columns["y"][0], median.merged) == (9, 3)


def test_marks_decide_which_rows_are_replicates(file):
    path = file("a.csv", "smiles,y\nCC(=O)[O-].[Na+],1\nCC(=O)[O-],2\nCC(=O)O,6\n")
    apart = load_molecules(path, numeric=["y"])
    assert (apart.columns["y"].tolist(), apart.spreads["y"].replicated) == ([1, 2, 6], 0)
    salts = load_molecules(path, numeric=["y"], marks=["salts"])
    assert (salts.columns["y"].tolist(), salts.lines) == ([1.5, 6], [2, 4])
    both = load_molecules(path, numeric=["y"], marks=["salts", "charges"])
    assert (both.smiles, both.columns["y"].tolist(), both.merged) == (["CC(=O)O"], [3], 2)


finite = st.floats(-1e300, 1e300) | st.sampled_from([0.1, 5e-324, 8e307, -8e307])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), finite | st.just(math.nan))), st.sampled_from(MERGES))
def test_any_rows_are_merged_as_statistics_does_it(rows, how):
    places = np.array([place for place, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    result, spread = merged(values, places, list("abcde"), how)
    known = {
        place: own
        for place in range(5)
        if (own := [v for p, v in rows if p == place and not math.isnan(v)])
    }
    largest = max((abs(v) for own in known.values() for v in own), default=0.0)
    for place in range(5):
        if place not in known:
            assert math.isnan(result[place])
        elif min(known[place]) == max(known[place]):  # no rounding
            assert result[place] == known[place][0]
        else:
            expected = HOW[how](known[place])
            assert result[place] == pytest.approx(expected, rel=1e-12, abs=1e-14 * largest)
    assert spread.replicated == sum(len(own) > 1 for own in known.values())
    assert spread.conflicting == sum(len(set(own)) > 1 for own in known.values())
