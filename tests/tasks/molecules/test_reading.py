"""Sets of molecules: canonical, distinct, cached; and the errors when they cannot be loaded."""

import errno
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from ketformer.tasks.molecules import reading
from ketformer.tasks.molecules.reading import load_molecules
from ketformer.tasks.molecules.standardise import canonicalise, standardised
from ketformer.utils.files import cache_folder
from tasks.molecules.complaints import complaint

SPECIAL = ["[CLS]", "[EOS]", "<pad>"]


pytestmark = pytest.mark.usefixtures("empty_cache")


# --- Canonicalising ----------------------------------------------------------------------------


def test_every_way_to_write_a_molecule_becomes_the_same():
    written = ["OCC", "C(O)C", "[CH3][CH2][OH]", " CCO\t", "C1=CC=CC=C1", "c1ccccc1"]
    assert canonicalise(written) == ["CCO"] * 4 + ["c1ccccc1"] * 2
    assert canonicalise([]) == []


NOT_SMILES = ["", " ", "x", "C C", "CCO ethanol", "C\0C", "C\ud800", "Cé", "CC>>C", *SPECIAL]
NOT_MOLECULES = ["C1CC", "C(", "C[", "CFC", "c1cccc1"]
TOO_LONG = ["C" * 2001, "C(" * 50_000 + "C" + ")" * 50_000]


@pytest.mark.parametrize(
    "broken", [*NOT_SMILES, *NOT_MOLECULES, *TOO_LONG], ids=lambda text: ascii(text[:12])
)
def test_what_is_no_molecule_is_none_and_says_nothing(capfd, broken):
    """RDKit would crash the process on the last of them."""
    assert canonicalise(["C", broken, "O"]) == ["C", None, "O"]
    assert capfd.readouterr() == ("", "")


def test_charges_stereo_fragments_and_long_chains_are_kept():
    written = ["[NH3+]CC(=O)[O-]", "F[C@@H](Cl)Br", "[Cl-].[Na+]", "[2H]C", "C" * 2000]
    for smiles, canonical in zip(written, canonicalise(written), strict=True):
        assert sorted(canonical) == sorted(smiles)


def test_several_processes_give_the_same_in_the_same_order(capfd):
    smiles = ["C" * (i % 40 + 1) + ("O" if i % 3 else "C1") for i in range(6_001)]
    alone = canonicalise(smiles, processes=1, progress=False)
    assert alone.count(None) == 2001
    assert capfd.readouterr() == ("", "")
    assert canonicalise(smiles, processes=2, label="many molecules") == alone
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "many molecules" in shown.err
    assert "/6001 " in shown.err
    assert "Error" not in shown.err


# --- Files and names ---------------------------------------------------------------------------


def test_neither_a_name_nor_a_file_is_an_error_that_lists_the_names(tmp_path):
    for name in ("nothing.csv", str(tmp_path), "", "x" * 5000, "a\0b", "tinyshakespeare"):
        assert "molecule sets: embedded, qm9, moses, qm9-properties" in complaint(name)


def test_a_file_of_an_unknown_kind_is_an_error_that_lists_the_kinds(file):
    known = "end in one of .csv, .tsv, .smi, .smiles, .txt, .sdf, .sd, perhaps with .gz"
    assert known in complaint(file("a.xlsx", "C\n"))


def test_a_file_that_may_not_be_read_is_an_error(monkeypatch, file):
    path = file("a.smi", "C\n")

    def refuse(self):  # as the system does, unless the tests run as root
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert complaint(path) == f"{path}: cannot be read (Permission denied)"


def test_the_embedded_molecules_are_a_set_by_name():
    molecules = load_molecules("embedded", max_heavy_atoms=2)
    assert molecules.name == "embedded"
    assert molecules.smiles[:5] == ["C", "F", "N", "O", "C#C"]
    assert molecules.rows == len(molecules.smiles) == 23
    assert (molecules.broken, molecules.duplicates, molecules.first_broken) == (0, 0, None)
    assert molecules.sha256 == hashlib.sha256("\n".join(molecules.smiles).encode()).hexdigest()
    assert "have no columns" in complaint("embedded", numeric=["x"])
    assert "have no columns" in complaint("embedded", column="smiles")


# --- Cache -------------------------------------------------------------------------------------

TABLE = "smiles,x,y,z\nOCC,0.1,1e300,C\nC1CC,2,3,C\nCCO,4,5,C\nN,,-0.0,N\n"


@pytest.fixture
def rdkit_calls(monkeypatch):
    """How many SMILES each call passed to RDKit."""
    calls = []

    def counted(smiles, *arguments, **named):
        calls.append(len(smiles))
        return standardised(smiles, *arguments, **named)

    monkeypatch.setattr(reading, "standardised", counted)
    return calls


def assert_equal(first, second):
    for field in ("name", "sha256", "smiles", "rows", "broken", "duplicates", "first_broken"):
        assert getattr(first, field) == getattr(second, field)
    for field in ("headings", "spreads", "notes"):
        assert getattr(first, field) == getattr(second, field)
    assert list(first.columns) == list(second.columns)
    for name in first.columns:
        assert first.columns[name].dtype == second.columns[name].dtype == np.float64
        assert first.columns[name].tobytes() == second.columns[name].tobytes()


def cache_file():
    (path,) = cache_folder().rglob("*.json.gz")
    return path


def test_the_second_reading_is_the_first_without_rdkit(file, rdkit_calls):
    path = file("a.csv", TABLE)
    first = load_molecules(path, numeric=["x", "y"])
    assert_equal(load_molecules(path, numeric=["x", "y"]), first)
    assert rdkit_calls == [4]
    assert [path.name for path in cache_file().parent.iterdir()] == [cache_file().name]


def test_whatever_changes_the_answer_changes_the_place_in_the_cache(monkeypatch, file, rdkit_calls):
    path = file("a.csv", TABLE)
    assert load_molecules(path).smiles == ["CCO", "N"]
    assert load_molecules(path, column="z").smiles == ["C", "N"]
    assert list(load_molecules(path, numeric=["x"]).columns) == ["x"]
    assert list(load_molecules(path, numeric=["y", "x"]).columns) == ["y", "x"]
    assert load_molecules(file("b.smi", TABLE + "O\n")).smiles[-1] == "O"
    assert len(rdkit_calls) == 5
    Path(path).write_text(TABLE + "O,,,O\n")
    assert load_molecules(path).smiles == ["CCO", "N", "O"]
    monkeypatch.setattr("rdkit.__version__", "another")
    load_molecules(path)
    assert len(rdkit_calls) == 7


def test_the_same_bytes_as_a_table_and_as_a_list_are_different(file, rdkit_calls):
    content = "smiles,x\nC,1\nN\n"
    assert "line 3 has 1 fields" in complaint(file("a.csv", content))
    assert load_molecules(file("a.smi", content)).smiles == ["C", "N"]
    assert rdkit_calls == [2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: b"not gzip",
        lambda raw: raw[:10] + b"\xff" + raw[11:],  # no such kind of block
        lambda raw: gzip.compress(b"not JSON"),
        lambda raw: gzip.compress(b"[]"),
        lambda raw: gzip.compress(b"{}"),
        lambda raw: gzip.compress(b'{"columns": {}}'),
    ],
)
def test_a_spoilt_cache_is_made_anew(file, rdkit_calls, spoil):
    path = file("a.csv", TABLE)
    first = load_molecules(path, numeric=["x", "y"])
    raw = cache_file().read_bytes()
    cache_file().write_bytes(spoil(raw))
    assert_equal(load_molecules(path, numeric=["x", "y"]), first)
    assert_equal(load_molecules(path, numeric=["x", "y"]), first)
    assert rdkit_calls == [4, 4]


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, file, tmp_path, rdkit_calls):
    monkeypatch.setenv("XDG_CACHE_HOME", file("occupied", "not a folder"))
    path = file("a.csv", TABLE)
    assert load_molecules(path).smiles == load_molecules(path).smiles == ["CCO", "N"]
    assert rdkit_calls == [4, 4]


def test_a_disk_that_is_full_leaves_nothing_behind(monkeypatch, file):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert load_molecules(file("a.csv", TABLE)).smiles == ["CCO", "N"]
    assert list((cache_folder() / "molecules").iterdir()) == []
