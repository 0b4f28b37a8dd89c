"""What counts as a molecule, and the worker processes."""

import os
import subprocess
import sys

import pytest
import rdkit.Chem
from rdkit.Chem import CanonSmiles, MolFromSmiles

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import (
    CHUNK,
    canonical_smiles,
    map_chunks,
    parse,
    worker_processes,
)

# --- Parsing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    ["", "C1CC", "CC(", "C(C)(C)(C)(C)C", "X", "C C", " C", "C\tC", "C\n", "Cé", "C\0", "\ud800"],
)
def test_what_is_no_molecule_is_none(refused):
    assert parse(refused) is None
    assert parse(refused, keep_hydrogens=True) is None
    assert canonical_smiles(refused) is None


def test_parsing_is_strict_and_silent(capfd):
    assert [parse(s) for s in ("", "C1CC", "CC name", " CC", "CN(C)(C)C")] == [None] * 5
    assert capfd.readouterr().err == ""
    assert parse("[H]C").GetNumAtoms() == 1
    assert parse("[H]C", keep_hydrogens=True).GetNumAtoms() == 2


def test_rdkit_is_afterwards_as_loud_as_it_was(capfd):
    parse("C1CC")
    canonical_smiles("C1CC")
    assert capfd.readouterr().err == ""
    MolFromSmiles("C1CC")
    assert "unclosed ring" in capfd.readouterr().err


def test_a_long_chain_is_a_molecule_and_a_longer_one_none():
    """RDKit would crash the process on a chain of 20,000 atoms."""
    assert parse("C" * 2_000).GetNumAtoms() == 2_000
    assert parse("C" * 2_001) is None
    assert parse("C" * 30_000) is None


@pytest.mark.parametrize("smiles", ["OCC", "C1=CC=CC=C1", "O[C@H](F)Cl", "[2H]C", "[Cl-].[Na+]"])
def test_canonical_smiles_are_rdkits_own(smiles):
    assert canonical_smiles(smiles) == CanonSmiles(smiles)


def test_a_molecule_without_atoms_is_none(monkeypatch):
    empty = rdkit.Chem.Mol()
    monkeypatch.setattr(rdkit.Chem, "MolFromSmiles", lambda *_: empty)
    assert parse("C") is None


@pytest.mark.parametrize("broken", ["MolFromSmiles", "MolToSmiles"])
def test_a_broken_invariant_inside_rdkit_is_no_molecule(broken, monkeypatch):
    def fail(*_):
        raise RuntimeError("Invariant Violation")

    monkeypatch.setattr(rdkit.Chem, broken, fail)
    assert canonical_smiles("C") is None


# --- In parallel -------------------------------------------------------------------------------


def process_and_first(chunk):
    return os.getpid(), chunk[0], len(chunk)


def die_at_the_last(chunk):
    if len(chunk) < CHUNK:
        os._exit(9)  # as if the system killed it: no exception, no cleanup


@pytest.mark.parametrize("processes", [1, 2, None])
def test_chunks_come_back_in_order(processes):
    items = range(3 * CHUNK + 1)
    results = map_chunks(process_and_first, items, processes, progress=False)
    expected = [(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, CHUNK), (3 * CHUNK, 1)]
    assert [result[1:] for result in results] == expected
    assert (os.getpid() in {result[0] for result in results}) == (processes == 1)


def test_one_chunk_stays_in_this_process(capfd):
    (result,) = map_chunks(process_and_first, range(CHUNK), processes=2)
    assert result == (os.getpid(), 0, CHUNK)
    assert capfd.readouterr().err == ""
    assert map_chunks(process_and_first, [], processes=2) == []


def test_an_error_in_a_worker_is_raised_here():
    with pytest.raises(TypeError, match="unsupported operand"):
        map_chunks(sum, ["a"] * (CHUNK + 1), processes=2, progress=False)


def test_a_killed_worker_is_one_clear_error(capfd):
    with pytest.raises(KetformerError, match=r"^a worker process was killed, .*try again$"):
        map_chunks(die_at_the_last, range(CHUNK + 1), processes=2, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="asks the scheduler")
def test_no_more_workers_than_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    results = map_chunks(process_and_first, range(CHUNK + 1), progress=False)
    assert {result[0] for result in results} == {os.getpid()}


def test_workers_are_shared_in_a_block_and_gone_after_it():
    def workers():
        return {pid for pid, *_ in map_chunks(process_and_first, range(CHUNK + 2), 2, False)}

    with worker_processes():
        first = {pid for _ in range(5) for pid in workers()}
        assert len(first) <= 2
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_killed_in_a_block_is_one_clear_error():
    with pytest.raises(KetformerError, match=r"^a worker process was killed"), worker_processes():
        map_chunks(die_at_the_last, range(CHUNK + 1), processes=2, progress=False)


PARENT = """
import os, time
from ketformer.tasks.molecules.chemistry import CHUNK, map_chunks

def say_and_wait(chunk):
    os.write(1, b"%d\\n" % os.getpid())  # in one write, or two lines may run together
    time.sleep(60)

if __name__ == "__main__":
    map_chunks(say_and_wait, range(CHUNK + 1), processes=2, progress=False)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True
    )
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.communicate(timeout=20)  # returns once the last worker has closed the pipe
    assert len(set(workers)) == 2
