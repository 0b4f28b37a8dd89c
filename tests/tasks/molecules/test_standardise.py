"""Marks that are not the molecule, and the one definition of a sound molecule."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rdkit import Chem, rdBase

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import canonical_smiles, parse
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.tasks.molecules.metrics import judge
from ketformer.tasks.molecules.properties import compute_properties
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.standardise import MARKS, canonicalise, marks_of, standardised

PLAIN = [
    "CCO",
    "CCN",
    "Oc1ccccc1",
    "CC(C)O",
    "O[C@H](F)Cl",
    "F/C=C/F",
    "CC(=O)O",
    "C1CC1",
    "[H][H]",
]
numbers = st.integers(1, 999)


def mapped(smiles, generator):
    """The molecule with its atoms in another order, and a number on each."""
    molecule = Chem.MolFromSmiles(smiles)
    order = generator.permutation(molecule.GetNumAtoms()).tolist()
    molecule = Chem.RenumberAtoms(molecule, order)
    for atom, number in zip(molecule.GetAtoms(), generator.permutation(900) + 1, strict=False):
        atom.SetAtomMapNum(int(number))
    return Chem.MolToSmiles(molecule, canonical=False)


# --- Atom maps -----------------------------------------------------------------------------------


@given(st.sampled_from(PLAIN), st.integers(0, 2**32 - 1))
def test_atom_maps_in_any_numbering_are_the_same_molecule(smiles, seed):
    text = mapped(smiles, np.random.default_rng(seed))
    assert ":" in text
    assert canonical_smiles(text) == canonical_smiles(smiles) == Chem.CanonSmiles(smiles)
    assert standardised([text]).changed == {"atom maps": 1}
    assert compute_properties([text]) == pytest.approx(compute_properties([smiles]))
    assert not any(atom.GetAtomMapNum() for atom in parse(text).GetAtoms())


def test_a_centre_that_only_a_map_made_is_none():
    assert canonicalise(["[CH3:1][C@H](O)[CH3:2]", "[CH3:1][C@@H](O)[CH3:2]"]) == ["CC(C)O"] * 2
    assert compute_properties(["[CH3:1][C@H](O)[CH3:2]"], ["StereoCenters"]) == 0


def test_counts_say_what_was_merged(tmp_path):
    generator = np.random.default_rng(0)
    texts = [mapped(smiles, generator) for smiles in PLAIN for _ in range(5)]
    path = tmp_path / "reactions.smi"
    path.write_text("\n".join([*texts, *PLAIN, "C1CC", "OCC"]))
    found = load_molecules(str(path))
    assert sorted(found.smiles) == sorted(map(Chem.CanonSmiles, PLAIN))
    assert found.rows == 6 * len(PLAIN) + 2
    assert found.changed == {"atom maps": 5 * len(PLAIN)}
    assert found.merged == 5 * len(PLAIN)
    assert (found.broken, found.duplicates) == (1, found.merged + 1)
    assert found.lines == [1 + 5 * i for i in range(len(PLAIN))]
    assert load_molecules(str(path)) == found  # from the cache


# --- On request ----------------------------------------------------------------------------------

SALT, ANION, ACID = "CC(=O)[O-].[Na+]", "CC(=O)[O-]", "CC(=O)O"


@pytest.mark.parametrize(
    ("marks", "smiles", "left", "changed"),
    [
        ("salts", SALT, ANION, {"salts": 1}),
        ("charges", ANION, ACID, {"charges": 1}),
        ("charges,salts", SALT, ACID, {"salts": 1, "charges": 1}),
        ("charges", "C[N+](C)(C)C", "C[N+](C)(C)C", {}),  # no hydrogen can neutralise it
        ("charges", "C[N+](=O)[O-]", "C[N+](=O)[O-]", {}),
        ("isotopes", "[13CH3]C([2H])O", "CCO", {"isotopes": 1}),
        ("stereo", "O[C@H](F)Cl", "OC(F)Cl", {"stereo": 1}),
        ("stereo", "F/C=C/F", "FC=CF", {"stereo": 1}),
        ("stereo", SALT, SALT, {}),
        ("isotopes", "O[C@](C)([13CH3])F", "CC(C)(O)F", {"isotopes": 1}),
        ("all", "[13CH3:4][C@H:2]([NH3+:1])F.[Cl-:3]", "CC(N)F",
         {"atom maps": 1, "salts": 1, "charges": 1, "isotopes": 1, "stereo": 1}),
        (None, "[13CH3][C@H]([NH3+])F.[Cl-]", "[13CH3][C@H]([NH3+])F.[Cl-]", {}),
    ],
)  # fmt: skip
def test_what_is_removed(marks, smiles, left, changed):
    found = standardised([smiles], marks_of(marks))
    assert found.smiles == [Chem.CanonSmiles(left)]
    assert found.changed == changed
    assert found.merged == 0


marked = st.sampled_from([*PLAIN, SALT, ANION, "[2H]CO", "C[C@H](N)C(=O)O.Cl", "C[NH+](C)C.[Cl-]"])


@given(st.lists(marked, max_size=6), st.sets(st.sampled_from(list(MARKS))))
def test_what_is_standardised_stays_so_and_counts_agree(smiles, asked):
    marks = marks_of(",".join(asked))
    found = standardised(smiles, marks)
    assert canonicalise(found.smiles, marks) == found.smiles
    assert found.merged == len(set(canonicalise(smiles))) - len(set(found.smiles))
    assert set(found.changed) <= asked
    assert None not in found.smiles


def test_samples_are_judged_as_the_training_molecules_are_read():
    sampled = [SALT, ACID, "[CH3:1][C:2](=[O:3])[OH:4]", "CCO"]
    judged = judge(sampled, [ACID], marks=marks_of("salts,charges"))
    assert judged.canonical == [ACID, ACID, ACID, "CCO"]
    assert judged.duplicate.tolist() == [False, True, True, False]
    assert judged.novel.tolist() == [False, False, False, True]
    assert judge(sampled, [ACID]).novel.tolist() == [True, False, False, True]


def test_reading_says_what_was_removed(tmp_path):
    path = tmp_path / "salts.smi"
    path.write_text("\n".join(["C" * n for n in range(1, 40)] + [SALT, ACID, "CCC.[Na]"]))
    told = "removed salts from 2, charges from 1 of 42 molecules; 2 differed from another only in"
    repeated = "2 of 42 rows repeat a molecule and are merged"
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match=repeated):
        data = prepare_molecules(str(path), standardise="salts, charges")
    assert data.facts["removed"] == {"salts": 2, "charges": 1}
    assert data.facts["merged"] == 2
    assert len(data.source.smiles) == 40


@pytest.mark.parametrize("asked", ["salt", "stereo,,salts", "stereo;salts", "All"])
def test_an_unknown_mark_is_named(asked):
    with pytest.raises(KetformerError, match="standardise can remove salts, charges, isotopes, st"):
        marks_of(asked)


def test_the_embedded_molecules_are_sound_and_have_no_marks():
    smiles = embedded_smiles(4)
    assert canonicalise(smiles) == canonicalise(smiles, list(MARKS)) == smiles


# --- Sound ---------------------------------------------------------------------------------------

# RDKit reads these, and cannot read what it writes for them.
UNREADABLE = ["NCb1=CC=CN1", "O=CNb1=NON=N1", "CCOCb1=CC=CO1", "OCC1=NC=N~O1"]


@pytest.mark.parametrize("smiles", UNREADABLE)
def test_what_rdkit_cannot_read_again_is_not_sound(smiles, tmp_path):
    with rdBase.BlockLogs():
        assert Chem.MolFromSmiles(Chem.MolToSmiles(Chem.MolFromSmiles(smiles))) is None
    assert parse(smiles) is canonical_smiles(smiles) is None
    assert canonicalise([smiles]) == canonicalise([smiles], list(MARKS)) == [None]
    assert not judge([smiles], []).valid.any()
    assert np.isnan(compute_properties([smiles])).all()
    path = tmp_path / "a.smi"
    path.write_text(f"CCO\n{smiles}\n")
    found = load_molecules(str(path))
    assert (found.smiles, found.first_broken) == (["CCO"], f"line 2: {smiles!r}")


def test_a_molecule_whose_canonical_smiles_is_too_long_is_not_sound():
    rings = ["C1=CC=CN1"] * 200  # RDKit writes c1cc[nH]c1, a character more
    assert len(".".join(rings)) == 1999
    assert parse(".".join(rings)) is canonical_smiles(".".join(rings)) is None
    assert len(canonical_smiles(".".join(rings[:181]))) == 1990


atoms = (
    "C N O S B P c n o s p b [nH] [n+] [O-] [C-] [c] [H] [BH-] [se] * [Fe] ( ) = # : ~ -> 1 2 . /"
)
texts = st.lists(st.sampled_from(atoms.split()), max_size=12).map("".join)


@settings(max_examples=300)
@given(texts)
def test_everything_agrees_on_what_is_sound(smiles):
    """Reading, judging, computing and drawing accept the same, and what is written is stable."""
    canonical = canonical_smiles(smiles)
    assert (parse(smiles) is None) == (canonical is None)
    assert standardised([smiles]).smiles == [canonical]
    assert judge([smiles], []).canonical == [canonical]
    assert np.isnan(compute_properties([smiles])).any() == (canonical is None)
    if canonical is not None:
        assert canonical_smiles(canonical) == canonical
        assert Chem.MolFromSmiles(canonical) is not None
        standardised([smiles], list(MARKS))  # no step fails
