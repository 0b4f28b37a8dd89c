"""SDF files: structures and their data fields."""

import gzip

import numpy as np
import pytest
from rdkit.Chem import AddHs, MolFromSmiles, MolToMolBlock, MolToV3KMolBlock
from rdkit.Chem.AllChem import EmbedMolecule

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.dialect import Dialect
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.standardise import canonicalise

SMILES = ["CCO", "c1ccccc1O", "C[C@H](N)C(=O)O", "F/C=C/F", "[NH3+]CC(=O)[O-]"]


pytestmark = pytest.mark.usefixtures("empty_cache")


def sdf(blocks, fields):
    """An SDF of mol blocks with ``{name: value}`` fields."""
    parts = []
    for block, own in zip(blocks, fields, strict=True):
        data = "".join(f">  <{name}>  (1)\n{value}\n\n" for name, value in own.items())
        parts.append(f"{block}{data}$$$$\n")
    return "".join(parts)


@pytest.mark.parametrize("write", [MolToMolBlock, MolToV3KMolBlock])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.sdf", "a.SD", "a.sdf.gz"])
def test_structures_and_fields_are_read(file, write, end, name):
    fields = [{"pIC50": f"{5 + i},5", "note": "two\nlines"} for i in range(len(SMILES))]
    fields[1] = {}
    content = sdf([write(MolFromSmiles(text)) for text in SMILES], fields).replace("\n", end)
    raw = content.encode()
    path = file(name, gzip.compress(raw) if name.endswith(".gz") else raw)
    molecules = load_molecules(path, numeric=["pic50"], optional=["LogP"])
    assert molecules.smiles == canonicalise(SMILES)
    np.testing.assert_array_equal(molecules.columns["pic50"], [5.5, np.nan, 7.5, 8.5, 9.5])
    assert molecules.headings == {"pic50": "pIC50"}
    assert molecules.notes == ["read with decimal commas"]


def test_a_conformer_gives_its_stereochemistry(file):
    molecule = AddHs(MolFromSmiles("C[C@H](N)C(=O)O"))
    EmbedMolecule(molecule, randomSeed=1)
    path = file("a.sdf", sdf([MolToMolBlock(molecule)], [{}]))
    assert load_molecules(path).smiles == canonicalise(["C[C@H](N)C(=O)O"])


def test_a_broken_structure_is_counted_with_its_line(file):
    good = MolToMolBlock(MolFromSmiles("CCO"))
    content = sdf([good, good.replace("V2000", "V9000").replace("\n", "CCN\n", 1)], [{}, {}])
    molecules = load_molecules(file("a.sdf", content))
    assert (molecules.smiles, molecules.broken) == (["CCO"], 1)
    line = len(sdf([good], [{}]).splitlines()) + 1
    assert molecules.first_broken == f"line {line}: \"structure 2 'CCN'\""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"column": "x"}, "an SDF file has no column of SMILES"),
        ({"dialect": Dialect(delimiter=";")}, "and no delimiter"),
        ({"numeric": ["pIC5"]}, "no columns are called 'pIC5'; columns: 'pIC50'; did you mean"),
    ],
)
def test_what_an_sdf_does_not_have(file, arguments, said):
    path = file("a.sdf", sdf([MolToMolBlock(MolFromSmiles("CCO"))], [{"pIC50": "5"}]))
    with pytest.raises(KetformerError) as caught:
        load_molecules(path, **arguments)
    assert said in str(caught.value)


def test_an_empty_sdf_is_an_error(file):
    with pytest.raises(KetformerError, match="the file has no molecules"):
        load_molecules(file("a.sdf", "\n\n"))
