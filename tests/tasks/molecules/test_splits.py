"""Splits: nothing repeated, nothing lost, and exactly the published one."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmilesFromSmiles

from ketformer.errors import KetformerError
from ketformer.tasks.molecules import cached as cached_module
from ketformer.tasks.molecules.scaffolds import scaffold_of, scaffolds
from ketformer.tasks.molecules.splits import SPLITS, split_molecules

SMILES = ["C" * n + end for n in range(1, 101) for end in ("", "O")]


def test_the_standard_split_is_a_partition_of_90_5_5():
    parts = split_molecules(SMILES, "standard")
    assert [len(part) for part in parts.values()] == [180, 10, 10]
    assert list(parts) == ["train", "validation", "test"]
    assert all(part.dtype == np.int64 for part in parts.values())
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    assert sorted(parts["train"]) != list(range(180))  # shuffled, not cut


def test_the_standard_split_does_not_depend_on_the_order_of_the_file():
    shuffled = [SMILES[i] for i in np.random.default_rng(0).permutation(len(SMILES))]
    ours, theirs = (split_molecules(smiles, "standard") for smiles in (SMILES, shuffled))
    for part in ours:
        assert [SMILES[i] for i in ours[part]] == [shuffled[i] for i in theirs[part]]


def test_the_standard_split_depends_on_the_seed_alone():
    first, again, other = (split_molecules(SMILES, "standard", seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[part], again[part]) for part in first)
    assert not np.array_equal(first["test"], other["test"])


def test_the_published_split_of_qm9():
    """The permutation of seed 42 is applied twice, as in the released code."""
    parts = split_molecules(range(133_798), "published", seed=7)
    assert len(parts["train"]) == 127_109
    assert len(parts["validation"]) == 6_689
    assert parts["train"][:3].tolist() == [125429, 118540, 89050]
    assert parts["validation"][:3].tolist() == [43609, 68270, 41475]
    assert parts["test"] is parts["validation"]
    assert all(part.dtype == np.int64 for part in parts.values())
    everything = np.concatenate([parts["train"], parts["validation"]])
    assert np.array_equal(np.sort(everything), np.arange(133_798))


@pytest.mark.parametrize(("split", "enough"), [("standard", 11), ("published", 20)])
def test_too_few_molecules_are_an_error_that_says_how_many_are_needed(split, enough):
    for n in range(enough, 40):
        assert all(map(len, split_molecules(SMILES[:n], split).values()))
    for n in (0, 1, enough - 1):
        told = f"^{n} molecules are too few for the {split} split, which needs {enough}$"
        with pytest.raises(KetformerError, match=told):
            split_molecules(SMILES[:n], split)


def test_an_unknown_split_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KetformerError, match="unknown split 'random'; known: standard, pub"):
        split_molecules(SMILES, "random")
    assert all(SPLITS.values())


# --- By scaffold -------------------------------------------------------------------------------

RINGS = ["C1CC1", "C1CCC1", "C1CCCC1", "c1ccccc1", "c1ccncc1", "c1ccoc1", "C1CCNCC1", "c1ccsc1"]
#: Chains, rings with one chain each, and pairs of rings: 200 molecules of 45 scaffolds.
RINGED = [
    *("C" * n for n in range(1, 41)),
    *(f"{'C' * n}{ring}" for ring in RINGS for n in range(1, 11)),
    *(f"{a}{b}{'C' * n}" for i, a in enumerate(RINGS) for b in RINGS[i:] for n in range(1, 3)),
    *(f"{ring}O{'C' * n}" for ring in RINGS[:1] for n in range(1, 9)),
]


def test_a_scaffold_is_that_of_rdkit():
    for smiles in RINGED:
        assert scaffold_of(MolFromSmiles(smiles)) == MurckoScaffoldSmilesFromSmiles(smiles)
    assert scaffold_of(MolFromSmiles("Cc1ccccc1"), min_rings=2) is None
    assert scaffolds(["CCO", "Cc1ccccc1", "no molecule"]) == ["", "c1ccccc1", ""]


def test_the_scaffold_split_is_a_partition_without_a_scaffold_in_two_parts():
    assert len(RINGED) == len(set(RINGED)) == 200
    parts = split_molecules(RINGED, "scaffold")
    assert list(parts) == ["train", "validation", "test"]
    assert all(part.dtype == np.int64 for part in parts.values())
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    sizes = [len(part) for part in parts.values()]
    assert sizes[0] <= 180
    assert sizes[1] <= 10
    assert min(sizes) > 0
    theirs = [{MurckoScaffoldSmilesFromSmiles(RINGED[i]) for i in part} for part in parts.values()]
    assert not theirs[0] & theirs[1]
    assert not theirs[0] & theirs[2]
    assert not theirs[1] & theirs[2]
    assert "" in theirs[0]  # the largest is trained on


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(200)), st.integers(0, 3))
def test_the_scaffold_split_depends_on_the_seed_alone(order, seed):
    shuffled = [RINGED[i] for i in order]
    ours = split_molecules(RINGED, "scaffold", seed)
    theirs = split_molecules(shuffled, "scaffold", seed)
    for part in ours:
        assert {RINGED[i] for i in ours[part]} == {shuffled[i] for i in theirs[part]}


def test_other_seeds_hold_out_other_scaffolds():
    chosen = [frozenset(split_molecules(RINGED, "scaffold", seed)["test"]) for seed in range(5)]
    assert len(set(chosen)) > 1


def test_one_scaffold_is_too_few():
    with pytest.raises(KetformerError, match="8 molecules are too few for the scaffold split"):
        split_molecules(["C" * n for n in range(1, 9)], "scaffold")


def test_the_scaffolds_of_many_molecules_are_cached(monkeypatch, empty_cache):
    chains = [
        "C" * carbons + "N" * nitrogens for carbons in range(1, 26) for nitrogens in range(10)
    ]
    smiles = [chain + ring for chain in chains for ring in RINGS]
    found = scaffolds(smiles, progress=False)
    assert found == [MurckoScaffoldSmilesFromSmiles(ring) for ring in RINGS] * 250
    monkeypatch.setattr(cached_module, "map_chunks", None)
    assert scaffolds(smiles) == found
    with pytest.raises(TypeError):
        scaffolds([*smiles, "C"])  # another list has another file


# --- A set's own parts -------------------------------------------------------------------------


def test_the_official_split_keeps_the_parts():
    parts = split_molecules(SMILES, "official", official={"train": 150, "test": 30, "other": 20})
    assert sorted(parts["train"]) == list(range(150))
    assert parts["train"].tolist() != list(range(150))
    assert parts["test"].tolist() == list(range(150, 180))
    assert parts["validation"] is parts["test"]
    assert parts["other"].tolist() == list(range(180, 200))
    again = split_molecules(SMILES, "official", 7, {"train": 150, "test": 30, "other": 20})
    assert np.array_equal(again["train"], parts["train"])


def test_a_set_without_parts_has_no_official_split():
    with pytest.raises(KetformerError, match="only a data set with parts of its own"):
        split_molecules(SMILES, "official")
