"""Sets that come in a wheel: MOSES with its parts, and QM9 with its properties."""

import warnings

import numpy as np
import pytest

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.packed import MOSES_PARTS, moses_smiles
from ketformer.tasks.molecules.reading import load_molecules
from tasks.molecules.complaints import complaint
from tasks.molecules.wheels import PARTS, moses_files, put_wheel, qm9_files

pytestmark = pytest.mark.usefixtures("empty_cache")

QM9 = [
    ("C", "-0.3877", "0.1171", "0.5048", "0.", "13.21"),
    ("N", "-0.257", "0.0829", "0.3399", "1.6256", "9.46"),
    ("O", "-0.2928", "0.0687", "0.3615", "1.8511", "6.31"),
    ("C#C", "-0.2845", "0.0506", "0.3351", "0.", "16.28"),
]


@pytest.fixture
def moses(monkeypatch, tmp_path):
    return put_wheel(monkeypatch, tmp_path / "data", "moses", moses_files())


def test_moses_has_its_parts(moses):
    molecules = load_molecules("moses")
    # OCC repeats CCO, and C(C)N of the test part is CCN of the training part.
    assert molecules.smiles == [
        "CCO", "CCN", "Cc1ccccc1", "CC(=O)O", "CCCO", "CCc1ccccc1", "CC1CC1", "CCC1CC1",
    ]  # fmt: skip
    assert molecules.parts == {"train": 4, "test": 2, "test_scaffolds": 2}
    assert (molecules.rows, molecules.duplicates, molecules.broken) == (10, 2, 0)
    assert molecules.sha256 == DATASETS["moses"].sha256
    assert load_molecules("moses").parts == molecules.parts  # from the cache
    assert list(moses_smiles(moses, "test")) == PARTS["test"]


def test_the_official_split_trains_on_the_training_part_alone(moses):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = prepare_molecules("moses", split="official", progress=False)
    assert sorted(data.smiles["train"]) == ["CC(=O)O", "CCN", "CCO", "Cc1ccccc1"]
    assert data.smiles["test"] == data.smiles["validation"] == ["CCCO", "CCc1ccccc1"]
    assert data.smiles["test_scaffolds"] == ["CC1CC1", "CCC1CC1"]
    assert len(data.rows("test_scaffolds")) == 2


def test_another_split_of_moses_is_warned_about(moses):
    with (
        pytest.warns(UserWarning, match="moses has parts of its own, which --split standard mixes"),
        pytest.raises(KetformerError, match="too few"),
    ):
        prepare_molecules("moses", progress=False)


def test_the_properties_of_qm9_are_columns(monkeypatch, tmp_path):
    put_wheel(monkeypatch, tmp_path / "data", "qm9-properties", qm9_files(QM9))
    names = ["HOMO", "LUMO", "gap", "dipole", "polarizability"]
    molecules = load_molecules("qm9-properties", numeric=names)
    order = [molecules.smiles.index(row[0]) for row in QM9]
    for place, name in enumerate(names, start=1):
        expected = [float(row[place]) for row in QM9]
        np.testing.assert_array_equal(molecules.columns[name][order], expected)
    assert molecules.parts == {}
    # Beside those that RDKit computes, and by the usual rules for names.
    rows = [("C" * n + end, *QM9[n % 4][1:]) for n in range(1, 16) for end in ("", "O")]
    put_wheel(monkeypatch, tmp_path / "data", "qm9-properties", qm9_files(rows))
    data = prepare_molecules("qm9-properties", conditions="MW,homo,Gap", progress=False)
    assert data.names == ("MW", "HOMO", "gap")
    value = dict(zip(data.smiles["train"], data.conditions["train"].tolist(), strict=True))
    assert value["CCC"] == pytest.approx([44.097, -0.2845, 0.3351])


def test_a_column_that_the_set_lacks_is_named(monkeypatch, tmp_path):
    put_wheel(monkeypatch, tmp_path / "data", "qm9-properties", qm9_files(QM9))
    said = complaint("qm9-properties", numeric=["HOMOO"])
    assert "no columns are called 'HOMOO'" in said
    assert "'HOMO', 'LUMO', 'gap', 'dipole', 'polarizability'" in said


def test_a_wheel_with_another_hash_is_refused(monkeypatch, moses):
    moses.write_bytes(moses.read_bytes() + b"!")
    assert "is not moses: its SHA-256 is" in complaint("moses")


def test_a_wheel_without_the_files_is_one_line(monkeypatch, tmp_path):
    put_wheel(monkeypatch, tmp_path / "data", "moses", {"moses/dataset/data/readme": b""})
    assert "is not a wheel with moses/dataset/data/train.csv.gz" in complaint("moses")
    path = put_wheel(monkeypatch, tmp_path / "data", "qm9-properties", {})
    assert f"{path} is not a wheel with qm9pack/data/qm9_part1.csv" in complaint("qm9-properties")


@pytest.mark.slow
def test_the_real_qm9_with_properties(monkeypatch, shared_file, tmp_path):
    path = shared_file("data", DATASETS["qm9-properties"].filename)
    monkeypatch.setenv("KETFORMER_DATA", str(path.parent))
    molecules = load_molecules("qm9-properties", numeric=["gap"], progress=False)
    assert molecules.rows == 130_831
    assert molecules.columns["gap"][molecules.smiles.index("C")] == 0.5048


@pytest.mark.slow
def test_the_real_moses(shared_file):
    path = shared_file("data", DATASETS["moses"].filename)
    numbers = {part: sum(1 for _ in moses_smiles(path, part)) for part in MOSES_PARTS}
    assert numbers == {"train": 1_584_663, "test": 176_074, "test_scaffolds": 176_225}
