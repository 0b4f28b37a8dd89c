"""Metrics of sampled molecules: by hand, and by what must hold for any sample."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.metrics import (
    generation_metrics,
    judge,
    property_errors,
    wasserstein,
)
from ketformer.tasks.molecules.properties import compute_properties

# --- Judging -----------------------------------------------------------------------------------

SAMPLED = ["OCC", "C", "CCO", "C(", "", "C1CC1", "C", "C C"]


def test_judged_by_hand():
    judged = judge(SAMPLED, ["CCO"])
    assert judged.sampled == SAMPLED
    assert judged.canonical == ["CCO", "C", "CCO", None, None, "C1CC1", "C", None]
    assert judged.valid.tolist() == [True, True, True, False, False, True, True, False]
    assert judged.duplicate.tolist() == [False, False, True, False, False, False, True, False]
    assert judged.novel.tolist() == [False, True, False, False, False, True, True, False]


def test_metrics_by_hand():
    assert generation_metrics(judge(SAMPLED, ["CCO"])) == {
        "sampled": 8,
        "valid": 5,
        "unique": 3,
        "novel": 2,
        "validity": 5 / 8,
        "uniqueness": 3 / 5,
        "novelty": 2 / 3,
        "product": 2 / 8,
        "not_in_training": 2,
        "novelty_to_training": 2 / 3,
        "in_training": 2 / 5,  # counts samples, not molecules
        "at": {},
    }


def test_novel_is_what_is_nowhere_in_the_data():
    judged = judge(SAMPLED, ["CCO"], ["C1CC1", "N"])
    assert judged.novel.tolist() == [False, True, False, False, False, False, True, False]
    assert judged.in_training.tolist() == [True, False, True] + [False] * 5
    metrics = generation_metrics(judged)
    assert (metrics["novel"], metrics["novelty"], metrics["product"]) == (1, 1 / 3, 1 / 8)
    assert (metrics["not_in_training"], metrics["novelty_to_training"]) == (2, 2 / 3)


def test_mirror_images_are_two_molecules():
    metrics = generation_metrics(judge(["O[C@H](F)Cl", "O[C@@H](F)Cl", "OC(F)Cl"], []))
    assert metrics["unique"] == 3


@pytest.mark.parametrize("container", [list, set, frozenset, dict.fromkeys, tuple])
def test_the_training_set_may_be_any_collection(container):
    assert judge(["C", "CC"], container(["C"])).novel.tolist() == [False, True]


def test_shares_of_nothing_are_none():
    metrics = generation_metrics(judge([], ["C"]))
    assert [metrics[key] for key in ("sampled", "valid", "unique", "novel")] == [0, 0, 0, 0]
    shares = ("validity", "uniqueness", "novelty", "product", "in_training")
    assert [metrics[key] for key in shares] == [None] * 5
    metrics = generation_metrics(judge(["X"], ["C"]))
    assert [metrics[key] for key in shares] == [0, None, None, 0, None]


def test_the_first_thousand_alone():
    """1,000 isotopes of methane, then one of them again 200 times."""
    sampled = [f"[{mass}CH4]" for mass in range(1, 1001)] + ["[1CH4]"] * 200
    metrics = generation_metrics(judge(sampled, ["[1CH4]", "[2CH4]"]))
    assert metrics["uniqueness"] == 1000 / 1200
    assert metrics["in_training"] == 202 / 1200
    assert metrics["product"] == 998 / 1200
    assert list(metrics["at"]) == ["1000"]
    first = metrics["at"]["1000"]
    assert first == {
        "sampled": 1000,
        "valid": 1000,
        "unique": 1000,
        "novel": 998,
        "validity": 1,
        "uniqueness": 1,
        "novelty": 0.998,
        "product": 0.998,
        "not_in_training": 998,
        "novelty_to_training": 0.998,
        "in_training": 0.002,
    }


@pytest.mark.parametrize(
    ("number", "sizes"),
    [(1000, []), (1001, ["1000"]), (10_000, ["1000"]), (10_001, ["1000", "10000"])],
)
def test_prefixes_are_smaller_than_the_sample(number, sizes):
    metrics = generation_metrics(judge((["C", "X"] * number)[:number], [], progress=False))
    assert list(metrics["at"]) == sizes
    for size in sizes:
        assert metrics["at"][size]["valid"] == int(size) / 2
        assert metrics["at"][size]["unique"] == 1


@given(
    sampled=st.lists(st.sampled_from(["C", "CC", "C(C)", "OCC", "CCO", "N", "X", "", "C1"])),
    training=st.sets(st.sampled_from(["C", "CC", "CCO", "O"])),
    held_out=st.sets(st.sampled_from(["C", "CC", "N", "O"])),
)
def test_what_holds_of_any_sample(sampled, training, held_out):
    judged = judge(sampled, training, held_out)
    metrics = generation_metrics(judged)
    canonical = [smiles for smiles in judged.canonical if smiles is not None]
    assert metrics["sampled"] == len(sampled)
    assert metrics["valid"] == len(canonical)
    assert metrics["unique"] == len(set(canonical))
    assert metrics["novel"] == len(set(canonical) - training - held_out)
    assert metrics["not_in_training"] == len(set(canonical) - training)
    assert metrics["valid"] == metrics["unique"] + judged.duplicate.sum()
    assert not (judged.duplicate & ~judged.valid).any()
    assert not (judged.novel & ~judged.valid).any()
    if canonical:
        known = sum(smiles in training for smiles in canonical)
        assert metrics["in_training"] == known / len(canonical)
        shares = metrics["validity"] * metrics["uniqueness"] * metrics["novelty"]
        assert metrics["product"] == pytest.approx(shares)
        again = generation_metrics(
            judge(canonical, training, held_out)
        )  # valid ones stay what they are
        assert again["validity"] == 1
        assert again["uniqueness"] == metrics["uniqueness"]


# --- Properties --------------------------------------------------------------------------------


def test_property_errors_by_hand():
    values = np.array([[1, 10], [np.nan, np.nan], [4, 20]])
    assert property_errors(values, {"b": 12, "a": 2}, ["a", "b"]) == {
        "b": {"target": 12, "count": 2, "mean": 15, "mae": 5},
        "a": {"target": 2, "count": 2, "mean": 2.5, "mae": 1.5},
    }


def test_property_errors_of_no_valid_molecule():
    errors = property_errors(compute_properties(["X"], ["MW"]), {"MW": 100.0}, ["MW"])
    assert errors == {"MW": {"target": 100.0, "count": 0, "mean": None, "mae": None}}


def test_a_target_for_no_column_is_refused():
    with pytest.raises(KetformerError, match=r"no property 'c' was computed; computed: a, b"):
        property_errors(np.zeros((1, 2)), {"c": 1}, ["a", "b"])


def test_wasserstein_by_hand():
    generated = np.array([[0, 5], [np.nan, np.nan], [2, 5]])
    reference = np.array([[1, 5], [3, 5], [1, 5], [3, 6]])
    # a: each half moves by 1; b: a quarter moves by 1
    assert wasserstein(generated, reference, ["a", "b"]) == {"a": 1, "b": pytest.approx(1 / 4)}
    assert wasserstein(reference, reference, ["a", "b"]) == {"a": 0, "b": 0}


def test_wasserstein_of_equal_numbers_pairs_them_in_order():
    ours = compute_properties(["CCO", "c1ccccc1O", "CC#N", "C"])
    theirs = compute_properties(["CC(=O)Nc1ccc(O)cc1", "N", "OC1CCCCC1", "O[C@H](F)Cl"])
    distances = wasserstein(ours, theirs, list("abcdefghi"))
    paired = np.abs(np.sort(ours, axis=0) - np.sort(theirs, axis=0)).mean(axis=0)
    assert list(distances.values()) == pytest.approx(paired)


def test_wasserstein_to_nothing_is_none_and_columns_must_have_names():
    empty = np.full((2, 1), np.nan)
    for sides in ([empty, np.zeros((1, 1))], [np.zeros((1, 1)), empty]):
        assert wasserstein(*sides, ["a"]) == {"a": None}
    with pytest.raises(ValueError, match="zip"):
        wasserstein(np.zeros((1, 2)), np.zeros((1, 2)), ["a"])
