"""Splits: nothing repeated, nothing lost, and exactly the published one."""

import numpy as np
import pytest

from ketformer.errors import KetformerError
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


@pytest.mark.parametrize(("split", "enough"), [("standard", 19), ("published", 20)])
def test_too_few_molecules_are_an_error(split, enough):
    assert all(
        len(part) == 1 for part in list(split_molecules(SMILES[:enough], split).values())[1:]
    )
    for n in (0, 1, 10):
        with pytest.raises(KetformerError, match=f"{n} molecules are too few for the {split}"):
            split_molecules(SMILES[:n], split)


def test_an_unknown_split_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KetformerError, match="unknown split 'scaffold'; known: standard, pub"):
        split_molecules(SMILES, "scaffold")
    assert all(SPLITS.values())
