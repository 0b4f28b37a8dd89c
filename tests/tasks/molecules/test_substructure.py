"""What a user wants in a molecule: read, written as a beginning, and found again."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rdkit import Chem

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.substructure import contain, read_part

from .druglike import drug_like


@pytest.mark.parametrize(
    ("parts", "smiles", "holds"),
    [
        (["c1ccncc1"], "Cc1ccncc1", True),
        (["c1ccncc1"], "c1ccc2ncccc2c1", True),
        (["c1ccncc1"], "Cc1ccccc1", False),
        (["c1ccncc1"], None, False),
        (["c1ccncc1"], "Cc1ccncc1.Cl", False),
        (["c1cc([*:1])ncc1"], "Cc1ccccn1", True),
        (["c1cc([*:1])ncc1"], "c1ccncc1", False),
        (["c1cc([*:1])ncc1"], "Cc1ccncc1", False),
        (["c1cc([*:1])ncc1"], "Cc1ccc(C)nc1", False),
        (["*c1ccnc([*:7])c1"], "Oc1ccnc(C)c1", True),
        (["c1ccccc1", "c1ccccc1"], "Cc1ccccc1", False),
        (["c1ccccc1", "c1ccccc1"], "c1ccc(Cc2ccccc2)cc1", True),
        (["c1ccccc1", "c1ccccc1"], "c1ccccc1.c1ccccc1", False),
        (["c1ccccc1*", "*C1CC1"], "c1ccc(C2CC2)cc1", True),
        (["C[C@H](N)O"], "C[C@H](N)OC", True),
        (["C[C@@H](N)O"], "C[C@H](N)OC", False),
    ],
)
def test_whether_a_molecule_holds_them(parts, smiles, holds):
    assert contain([smiles], [read_part(part, "--fragment") for part in parts]) == [holds]


@settings(max_examples=60, deadline=None)
@given(drug_like, st.sampled_from(["c1ccccc1", "c1ccncc1", "C1CC1", "C(=O)O", "C1CCNCC1"]))
def test_without_points_it_is_rdkits_substructure_match(smiles, part):
    molecule = Chem.MolFromSmiles(smiles)
    expected = molecule.HasSubstructMatch(Chem.MolFromSmiles(part)) and "." not in smiles
    assert contain([smiles], [read_part(part, "--scaffold")]) == [expected]


@pytest.mark.parametrize("smiles", ["c1ccncc1", "O=C1CC(N)CN1", "CC(=O)N", "C1CC1F"])
def test_every_hydrogen_of_an_atom_without_brackets_can_be_replaced(smiles):
    part = read_part(smiles, "--scaffold")
    for draw in (None, *map(np.random.default_rng, range(5))):
        steps = part.steps(draw)
        text = "".join(step.token for step in steps)
        molecule = Chem.MolFromSmiles(text)
        assert Chem.MolToSmiles(molecule) == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
        free = [a.GetTotalNumHs() for a in molecule.GetAtoms() if not a.GetNoImplicit()]
        assert sum(step.spare for step in steps) == sum(free)


def test_points_are_where_the_user_put_them():
    part = read_part("[*:5]c1cc(*)ncc1", "--scaffold")
    for draw in (None, *map(np.random.default_rng, range(5))):
        steps = part.steps(draw)
        assert not any(step.spare for step in steps)
        text = "".join("(*)" if step.token is None else step.token for step in steps)
        found = Chem.MolToSmiles(Chem.MolFromSmiles(text))
        assert found == Chem.MolToSmiles(Chem.MolFromSmiles("*c1cc(*)ncc1"))


@pytest.mark.parametrize(
    ("smiles", "told"),
    [
        ("c1ccncc", "--scaffold 'c1ccncc' is not a SMILES that RDKit can read"),
        ("", "is not a SMILES"),
        ("hello", "is not a SMILES"),
        ("c1ccccc1.C", "has several parts; name each with a --fragment of its own"),
        ("*", "no atoms but attachment points"),
        ("C=*", "an attachment point must have exactly one bond, a single one"),
        ("C*C", "an attachment point must have exactly one bond"),
        ("FC(F)(F)F", "no hydrogen that could be replaced; mark where to attach with [*:1]"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(smiles, told):
    with pytest.raises(KetformerError) as caught:
        read_part(smiles, "--scaffold")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
