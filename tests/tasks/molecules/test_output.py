"""The table of molecules and the SDF file, as read back."""

import csv

import numpy as np
import pytest
from hypothesis import given, strategies as st
from rdkit import Chem

from ketformer.tasks.molecules.output import MoleculeTable, part_of, write_sdf

NAN = float("nan")


def _write_block(table, sampled=("OCC", "C1CC"), properties=((46.069, -0.0014), (NAN, NAN))):
    table.write(
        sampled=list(sampled),
        canonical=["CCO", None],
        valid=[True, False],
        duplicate=[np.True_, None],
        novel=[False, None],
        in_training=[True, None],
        properties=np.array(properties),
    )


def _read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_column_of_a_table(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with MoleculeTable(path, ("MW", "LogP"), {"LogP": 2.0, "QED": 1 / 3}) as table:
        _write_block(table)
    assert path.read_bytes().decode() == (
        "smiles,canonical_smiles,valid,duplicate,novel,in_training,MW,LogP,requested_LogP,requested_QED\n"
        "OCC,CCO,true,true,false,true,46.069,-0.0014,2,0.333333\n"
        "C1CC,,false,,,,,,2,0.333333\n"
    )


def test_blocks_follow_each_other_under_one_head(tmp_path):
    path = tmp_path / "table.csv"
    with MoleculeTable(path) as table:
        for start in range(0, 6, 2):
            names = [f"C{start}", f"C{start + 1}"]
            table.write(names, ["C", "C"], [True] * 2, [False] * 2, [True] * 2, [False] * 2)
            assert not path.exists()
    assert [row["smiles"] for row in _read(path)] == [f"C{i}" for i in range(6)]


def test_a_failed_block_leaves_the_old_table_and_what_was_written_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail():
        with MoleculeTable(path, ("MW", "LogP")) as table:
            _write_block(table)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert set(tmp_path.iterdir()) == {path, part_of(path)}
    assert len(part_of(path).read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "change", [{"sampled": ("C",)}, {"properties": ((1.0,), (2.0,))}], ids=["rows", "columns"]
)
def test_columns_of_different_lengths_are_refused(tmp_path, change):
    with (
        pytest.raises(ValueError, match="properties: expected shape"),
        MoleculeTable(tmp_path / "table.csv", ("MW", "LogP")) as table,
    ):
        _write_block(table, **change)


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), MoleculeTable(tmp_path / "file" / "table.csv"):
        pass


@given(st.lists(st.text(st.sampled_from('C(),"; =#é\n[]')), min_size=1), st.floats(-1e9, 1e9))
def test_any_text_and_number_come_back(tmp_path_factory, texts, number):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    some = [True] * len(texts)
    with MoleculeTable(path, ["x, y"]) as table:
        table.write(texts, texts, some, some, some, some, np.full((len(texts), 1), number))
    rows = _read(path)
    assert [row["smiles"] for row in rows] == [row["canonical_smiles"] for row in rows] == texts
    assert all(float(row["x, y"]) == pytest.approx(number, rel=5e-6) for row in rows)


MIXED = ["CC(C)C1=CNC(=O)N1", "C1CC", "c1cc[nH]c1", "", "N[C@@H](C)C(=O)O"]
VALID = [MIXED[0], MIXED[2], MIXED[4]]


@pytest.mark.parametrize("three_dimensional", [False, True])
def test_an_sdf_holds_the_valid_molecules_and_their_fields(tmp_path, three_dimensional):
    path = tmp_path / "new" / "molecules.sdf"
    values = np.array([[126.159, 0.5], [1, 1], [67.09, NAN], [1, 1], [89.094, -2.0]])
    count = write_sdf(path, MIXED, values, ("MW", "LogP"), three_dimensional, progress=False)
    read = list(Chem.SDMolSupplier(str(path)))
    assert count == len(read) == 3
    assert [Chem.MolToSmiles(m) for m in read] == [Chem.CanonSmiles(s) for s in VALID]
    assert [m.GetProp("_Name") for m in read] == VALID
    assert [m.GetPropsAsDict() for m in read] == [
        {"MW": 126.159, "LogP": 0.5},
        {"MW": 67.09},
        {"MW": 89.094, "LogP": -2},
    ]
    assert [m.HasProp("LogP") for m in read] == [1, 0, 1]
    assert all(m.GetConformer().Is3D() == three_dimensional for m in read)
    assert all(np.ptp(m.GetConformer().GetPositions()[:, 0]) > 1 for m in read)


def test_three_dimensional_files_have_hydrogens_and_are_reproducible(tmp_path):
    for name in "ab":
        write_sdf(tmp_path / name, VALID, three_dimensional=True, progress=False)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    first = next(iter(Chem.SDMolSupplier(str(tmp_path / "a"), removeHs=False)))
    assert first.GetNumAtoms() == 19
    distances = Chem.Get3DDistanceMatrix(first)
    for bond in first.GetBonds():
        assert 0.9 < distances[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] < 1.6  # Å


def test_a_molecule_that_cannot_be_embedded_is_flat_and_told(tmp_path):
    impossible = "C1#CC1"  # three carbons in a ring with a triple bond
    with pytest.warns(UserWarning, match=": 1 of 2 molecules could not be embedded"):
        count = write_sdf(tmp_path / "a.sdf", ["CC", impossible], None, (), True, progress=False)
    flags = [m.GetConformer().Is3D() for m in Chem.SDMolSupplier(str(tmp_path / "a.sdf"))]
    assert (count, flags) == (2, [True, False])


def test_a_failed_sdf_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.sdf"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_sdf(path, ["CC", 5], progress=False)
    with pytest.raises(ValueError, match="expected shape"):
        write_sdf(path, ["CC"], np.zeros((2, 1)), ["MW"], progress=False)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bar_is_shown_on_request(tmp_path, capsys):
    write_sdf(tmp_path / "a.sdf", ["CC"], progress=False)
    assert capsys.readouterr().err == ""
    write_sdf(tmp_path / "a.sdf", ["CC"])
    assert "1/1" in capsys.readouterr().err
