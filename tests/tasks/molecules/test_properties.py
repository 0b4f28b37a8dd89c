"""Descriptors against values computed by hand, in one process or several, and the cache."""

import pickle

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import FindMolChiralCenters

from ketformer.errors import KetformerError
from ketformer.tasks.molecules import properties
from ketformer.tasks.molecules.chemistry import CHUNK
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties, compute_properties

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
ALKANES = ["C" * (1 + number % 9) for number in range(CHUNK + 1)]  # two chunks, quickly computed


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The cache folder during a test, apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ketformer" / "molecules"


@pytest.fixture(scope="module")
def qm9(shared_file):
    """The SMILES of QM9."""
    return shared_file("data", "qm9.csv").read_text().split()[1:]


# --- Values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "counts"),
    [  # HBA, HBD, nRot, nRing, nHet, StereoCenters
        ("C", (0, 0, 0, 0, 0, 0)),
        ("CCO", (1, 1, 0, 0, 1, 0)),
        (ASPIRIN, (3, 1, 2, 1, 4, 0)),
        ("c1ccc2ccccc2c1", (0, 0, 0, 2, 0, 0)),
        ("OC(F)Cl", (1, 1, 0, 0, 3, 1)),  # not assigned
        ("O[C@H](F)Cl", (1, 1, 0, 0, 3, 1)),  # assigned
        ("O[C@H](F)C(Br)Cl", (1, 1, 1, 0, 4, 2)),  # one of each
    ],
)
def test_counts_by_hand(smiles, counts):
    names = ("HBA", "HBD", "nRot", "nRing", "nHet", "StereoCenters")
    assert tuple(compute_properties([smiles], names)[0]) == counts


def test_measures_by_hand():
    values = compute_properties(["CCO", "C", "c1ccccc1"], ("MW", "TPSA", "LogP"))
    carbon, hydrogen, oxygen = 12.011, 1.008, 15.999
    assert values[0, 0] == pytest.approx(2 * carbon + 6 * hydrogen + oxygen, abs=1e-3)
    assert values[1, 0] == pytest.approx(carbon + 4 * hydrogen, abs=1e-3)
    assert values[:, 1] == pytest.approx([20.23, 0, 0])  # Ertl's contribution of a hydroxyl
    # Crippen's contributions: C1 0.1441 and H1 0.123 of methane, C18 0.1581 of benzene
    assert values[1, 2] == pytest.approx(0.1441 + 4 * 0.123)
    assert values[2, 2] == pytest.approx(6 * 0.1581 + 6 * 0.123)


def test_all_nine_in_their_order():
    assert list(PROPERTIES) == (
        ["MW", "HBA", "HBD", "nRot", "nRing", "nHet", "TPSA", "LogP", "StereoCenters"]
    )
    values = compute_properties([ASPIRIN])
    assert values.dtype == np.float64
    assert values[0] == pytest.approx([180.159, 3, 1, 2, 1, 4, 63.60, 1.3101, 0], abs=1e-3)


def test_columns_are_as_asked():
    values = compute_properties([ASPIRIN, "C"], ("nRing", "MW"))
    assert values == pytest.approx(np.array([[1, 180.159], [0, 16.043]]), abs=1e-3)


@pytest.mark.parametrize(
    "refused",
    ["", "C1CC", "CC(", "C(C)(C)(C)(C)C", "X", "C C", " C", "C\tC", "C\n", "Cé", "C\0", "\ud800"],
)
def test_what_is_no_molecule_is_a_row_of_nan(refused):
    values = compute_properties(["C", refused, "CC"])
    assert np.isnan(values[1]).all()
    assert not np.isnan(values[[0, 2]]).any()


def test_rdkit_is_silent_meanwhile_and_afterwards_as_it_was(capfd):
    compute_properties(["C1CC", "X"])
    assert capfd.readouterr().err == ""
    Chem.MolFromSmiles("C1CC")
    assert "unclosed ring" in capfd.readouterr().err


def test_no_molecules_and_no_names():
    assert compute_properties([]).shape == (0, 9)
    assert compute_properties(["C", "X"], ()).shape == (2, 0)


@pytest.mark.parametrize("function", [compute_properties, cached_properties])
def test_an_unknown_name_is_refused_with_the_known(function):
    with pytest.raises(KetformerError, match=r"no property 'mass'; known: MW, .*StereoCenters$"):
        function(["C"], ("MW", "mass"))


def test_stereocentres_are_those_of_rdkits_default_perception(qm9):
    smiles = qm9[::50]
    values = compute_properties(smiles, ("StereoCenters",), processes=1, progress=False)[:, 0]
    molecules = map(Chem.MolFromSmiles, smiles)
    expected = [len(FindMolChiralCenters(m, includeUnassigned=True)) for m in molecules]
    assert sum(expected) > 1_000
    assert values.tolist() == expected


def test_chains_that_would_end_the_process_are_no_molecules():
    assert np.isnan(compute_properties(["C" * 30_000])).all()
    assert compute_properties(["C" * 2_000], ("MW",))[0, 0] == pytest.approx(28_056, abs=5)


# --- In parallel -------------------------------------------------------------------------------


def test_the_bar_is_on_stderr_and_can_be_silenced(capfd):
    compute_properties(ALKANES, ("nRing",), processes=1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "properties" in err
    assert f"{len(ALKANES)}/{len(ALKANES)}" in err
    compute_properties(ALKANES, ("nRing",), processes=1, progress=False)
    assert capfd.readouterr().err == ""


def test_workers_compute_what_one_process_does():
    smiles = [*ALKANES, "X", ASPIRIN]
    alone = compute_properties(smiles, processes=1, progress=False)
    together = compute_properties(smiles, processes=2, progress=False)
    assert np.array_equal(alone, together, equal_nan=True)
    assert np.isnan(together[-2]).all()
    assert together[-1, 0] == pytest.approx(180.159, abs=1e-3)


# --- The cache ---------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch):
    """The calls that really compute properties."""
    calls = []

    def compute(*arguments, **options):
        calls.append(arguments)
        return compute_properties(*arguments, **options, processes=1)

    monkeypatch.setattr(properties, "compute_properties", compute)
    return calls


def cached(smiles=tuple(ALKANES), names=("nRing", "nHet")):
    return cached_properties(smiles, names, progress=False)


def test_the_second_time_comes_from_the_cache(cache, computed):
    first, second = cached(), cached()
    assert len(computed) == 1
    assert np.array_equal(first, second)
    assert [path.suffix for path in cache.iterdir()] == [".npy"]  # and nothing temporary


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("nHet", "nRing")},
        {"names": ("nRing",)},
        {"smiles": [*ALKANES[:-1], "O"]},
        {"smiles": ALKANES[::-1]},
        {"smiles": ["C\nC", *ALKANES[2:]]},
    ],
    ids=["order of names", "fewer names", "another molecule", "another order", "fewer rows"],
)
def test_another_question_has_another_answer(changes, computed):
    cached()
    values = cached(**changes)
    assert len(computed) == 2
    expected = compute_properties(
        changes.get("smiles", ALKANES), changes.get("names", ("nRing", "nHet")), progress=False
    )
    assert np.array_equal(values, expected, equal_nan=True)


def test_another_rdkit_computes_anew(computed, monkeypatch):
    cached()
    monkeypatch.setattr("rdkit.__version__", "1999.1")
    cached()
    assert len(computed) == 2


@pytest.mark.parametrize(
    "content", [b"", b"no array", pickle.dumps(None)], ids=["empty", "garbage", "pickle"]
)
def test_a_broken_file_is_made_anew(content, cache, computed):
    first = cached()
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(content)
    assert np.array_equal(cached(), first)
    assert len(computed) == 2
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "array", [np.zeros((1, 2)), np.zeros((len(ALKANES), 2), dtype=int), np.zeros(3)], ids=repr
)
def test_a_file_of_another_shape_or_type_is_made_anew(array, cache, computed):
    first = cached()
    (path,) = cache.iterdir()
    np.save(path, array)
    assert np.array_equal(cached(), first)
    assert len(computed) == 2


def test_a_truncated_file_is_made_anew(cache, computed):
    first = cached()
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-8])
    assert np.array_equal(cached(), first)
    assert len(computed) == 2


def test_a_folder_that_cannot_be_written_is_no_error(cache, computed):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert np.array_equal(cached(), cached())
    assert len(computed) == 2


def test_a_full_disk_leaves_nothing_behind(cache, computed, monkeypatch):
    def save(out, *arguments, **options):
        out.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", save)
    assert cached().shape == (len(ALKANES), 2)
    assert list(cache.iterdir()) == []


def test_short_lists_are_not_kept(cache):
    assert cached(ALKANES[: CHUNK - 1]).shape == (CHUNK - 1, 2)
    assert not cache.exists()
    cached(ALKANES[:CHUNK])
    assert len(list(cache.iterdir())) == 1
