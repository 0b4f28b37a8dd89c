"""The embedded set of molecules is complete: checked by brute force and against known counts."""

from collections import Counter
from itertools import combinations, combinations_with_replacement, permutations, product

import pytest
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.embedded import MAX_HEAVY_ATOMS, embedded_smiles
from ketformer.tasks.molecules.tokenizer import QM9_VOCABULARY, vocabulary_of

VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1}


def connected(n, bonds):
    reached = {0}
    for _ in range(n):
        reached |= {b for pair in bonds for b in pair if set(pair) & reached}
    return len(reached) == n


def count_by_brute_force(n):
    """Every matrix of bond orders over every choice of atoms, up to renumbering."""
    pairs = list(combinations(range(n), 2))
    seen = set()
    for atoms in combinations_with_replacement(sorted(VALENCE), n):
        renumberings = [
            p for p in permutations(range(n)) if all(atoms[p[i]] == atoms[i] for i in range(n))
        ]
        for orders in product(range(4), repeat=len(pairs)):
            bonds = {pair: order for pair, order in zip(pairs, orders, strict=True) if order}
            used = Counter()
            for pair, order in bonds.items():
                used.update(dict.fromkeys(pair, order))
            if any(used[i] > VALENCE[atoms[i]] for i in range(n)) or not connected(n, bonds):
                continue
            seen.add(
                min(
                    (atoms, *sorted((*sorted((p[i], p[j])), o) for (i, j), o in bonds.items()))
                    for p in renumberings
                )
            )
    return len(seen)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_there_are_as_many_as_a_brute_force_search_finds(n):
    exactly_n = len(embedded_smiles(n)) - (len(embedded_smiles(n - 1)) if n > 1 else 0)
    assert exactly_n == count_by_brute_force(n)


@pytest.mark.parametrize(
    ("formula", "isomers"),
    [
        *(("CH4", 1), ("C2H6", 1), ("C3H8", 1), ("C4H10", 2), ("C5H12", 3)),
        *(("C4H8", 5), ("C5H10", 10), ("C4H6", 9), ("C5H8", 26)),
        *(("C4H10O", 7), ("C3H8O", 3), ("C3H6O", 9), ("C3H9N", 4), ("C4H9F", 4)),
    ],
)
def test_the_counts_of_isomers_are_those_of_the_textbooks(formula, isomers):
    found = Counter(CalcMolFormula(Chem.MolFromSmiles(smiles)) for smiles in embedded_smiles())
    assert found[formula] == isomers


@pytest.mark.parametrize(
    "smiles",
    [
        "O",
        "C#N",
        "O=C=O",
        "NC=O",
        "CC(C)=O",
        "C1CC1",
        "NCC(=O)O",
        "c1cc[nH]c1",
        "O=c1cc1",
        "C12C3C1C23",
    ],
)
def test_familiar_molecules_are_among_them(smiles):
    assert Chem.CanonSmiles(smiles) in embedded_smiles()


def test_every_one_is_canonical_neutral_closed_shell_and_in_one_piece():
    smiles = embedded_smiles()
    assert len(smiles) == len(set(smiles)) == 5453
    for text in smiles:
        molecule = Chem.MolFromSmiles(text)
        assert Chem.MolToSmiles(molecule) == text
        assert molecule.GetNumAtoms() <= MAX_HEAVY_ATOMS
        assert len(Chem.GetMolFrags(molecule)) == 1
        for atom in molecule.GetAtoms():
            assert atom.GetFormalCharge() == atom.GetNumRadicalElectrons() == 0
            assert atom.GetTotalValence() == VALENCE[atom.GetSymbol()]


def test_their_order_is_by_heavy_atoms_and_then_by_text():
    smiles = embedded_smiles()
    sizes = [Chem.MolFromSmiles(text).GetNumAtoms() for text in smiles]
    assert list(zip(sizes, smiles, strict=True)) == sorted(zip(sizes, smiles, strict=True))
    assert smiles[:6] == ["C", "F", "N", "O", "C#C", "C#N"]
    assert embedded_smiles(3) == smiles[: len(embedded_smiles(3))]


def test_they_are_written_in_tokens_of_qm9_and_one_more():
    cage = "6"  # five atoms, each bonded to every other, close six rings
    assert vocabulary_of(embedded_smiles()) - set(QM9_VOCABULARY) == {cage}


def test_changing_the_answer_does_not_change_the_next_one():
    embedded_smiles(2).clear()
    assert len(embedded_smiles(2)) == 23


@pytest.mark.parametrize("size", [-1, 0, 8])
def test_a_size_that_makes_none_or_too_many_is_an_error(size):
    with pytest.raises(KetformerError, match=f"max_heavy_atoms is {size}, but must be 1 to 7"):
        embedded_smiles(size)
