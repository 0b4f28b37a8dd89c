"""Known compounds: their names in each kind of file, and which is nearest, as RDKit says."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from rdkit.DataStructs import BulkTanimotoSimilarity

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.embedded import embedded_smiles
from ketformer.tasks.molecules.known import nearest_known, read_compounds
from ketformer.tasks.molecules.output import COLUMNS, MoleculeTable, write_sdf

SDF_FIELD = "> <Compound ID>\nCPD-7\n\n"


def files(folder):
    """Two compounds and a broken row, in each kind of file."""
    (folder / "a.smi").write_text("OCC\tethanol, pure\nnonsense x\nCC(=O)O\n")
    (folder / "b.csv").write_text(
        "CAS,name,SMILES\n64-17-5,ethanol,OCC\n1,x,nonsense\n,acid,CC(=O)O"
    )
    (folder / "c.csv").write_text("structure;smiles\nx;OCC\ny;nonsense\nz;CC(=O)O\n")
    write_sdf(folder / "d.sdf", ["OCC", "CC(=O)O"], texts={"Compound ID": ["", "CPD-7"]})
    return folder


@pytest.mark.parametrize(
    ("file", "ids", "broken"),
    [
        ("a.smi", ["ethanol, pure", "line 3"], 1),
        ("b.csv", ["64-17-5", "line 4"], 1),
        ("c.csv", ["line 2", "line 4"], 1),
        ("d.sdf", ["OCC", "CPD-7"], 0),  # write_sdf's title is the SMILES
    ],
)
def test_compounds_have_the_names_of_their_file(tmp_path, file, ids, broken):
    known = read_compounds(str(files(tmp_path) / file), progress=False)
    assert known.smiles == ["CCO", "CC(=O)O"]
    assert known.ids == ids
    assert known.broken == broken
    assert known.places == {"CCO": 0, "CC(=O)O": 1}


def test_salts_are_removed_as_from_the_samples(tmp_path):
    (tmp_path / "salt.smi").write_text("[Na+].CC(=O)[O-] acetate\n")
    known = read_compounds(str(tmp_path / "salt.smi"), ("salts", "charges"), progress=False)
    assert known.smiles == ["CC(=O)O"]


def test_a_table_that_generate_wrote_can_be_known(tmp_path):
    with MoleculeTable(tmp_path / "m.csv") as table:
        table.write(["OCC"], ["CCO"], [True], [False], [None], [None])
    assert COLUMNS[1] == "canonical_smiles"  # so that two columns hold molecules
    assert read_compounds(str(tmp_path / "m.csv"), progress=False).smiles == ["CCO"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.smi", None, "no such file"),
        ("x.pdf", "C", "molecule files end in one of"),
        ("x.smi", "nonsense\n", "no SMILES that RDKit can read"),
        ("x.smi", "", "has no molecules"),
    ],
)
def test_a_file_without_compounds_is_a_mistake(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(KetformerError, match=told):
        read_compounds(str(tmp_path / name), progress=False)


@pytest.mark.parametrize("block", [10, 10_000])
def test_the_nearest_is_that_of_rdkit(tmp_path, monkeypatch, block):
    monkeypatch.setattr("ketformer.tasks.molecules.known._BLOCK", block)
    theirs, ours = embedded_smiles(3)[::2], embedded_smiles(4)[10::60]
    (tmp_path / "k.smi").write_text("".join(f"{text} K{i}\n" for i, text in enumerate(theirs)))
    known = read_compounds(str(tmp_path / "k.smi"), progress=False)
    similarity, place = nearest_known(ours, known)
    generator = GetMorganGenerator(radius=2, fpSize=1024)

    def prints(smiles):
        return [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]

    expected = np.array([BulkTanimotoSimilarity(one, prints(theirs)) for one in prints(ours)])
    assert similarity == pytest.approx(expected.max(axis=1), abs=1e-6)
    assert place.tolist() == expected.argmax(axis=1).tolist()
    assert [known.ids[i] for i in place] == [f"K{i}" for i in expected.argmax(axis=1)]
