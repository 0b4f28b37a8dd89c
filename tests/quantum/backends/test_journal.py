"""The journal of measured circuits: what it keeps, and what it survives."""

import errno
import os
import signal
import threading
from collections import namedtuple

import pytest
import torch
from hypothesis import given, strategies as st

from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, Noise, PauliStrings
from ketformer.quantum.backends import Journal
from ketformer.quantum.backends.exact import ShotsBackend
from ketformer.quantum.backends.journal import _counts, _outcomes, read_journal, summary

CIRCUIT = Circuit(2).ry(0, "a").cnot(0, 1).rx(1, "b")
STRINGS = PauliStrings(("ZI", "XX", "ZZ"))  # two settings of axes, so two batches
SEEDED = {"shots": 50, "seed": 3, "noise": Noise(readout=0.1)}
BATCHES = 6


class Device(ShotsBackend):
    """Counts its jobs; before the one of that number, it does something else."""

    name = "device"

    def __init__(self, **common):
        super().__init__(**common)
        self.run, self.before = 0, {}

    def _outcomes(self, circuit, rows, shots, seed):
        self.before.get(self.run, lambda: None)()
        self.run += 1
        return super()._outcomes(circuit, rows, shots, seed)


def device(before=None, **changed):
    made = Device(**SEEDED | changed)
    made.before = before or {}
    return made


def expectations(made):
    """Three experiments of two batches; the second experiment is the first once more."""
    angles = torch.rand(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batches = [angles, angles, angles + 1]
    return torch.stack([made.expectations(CIRCUIT, batch, STRINGS) for batch in batches])


def measured(path, made):
    with Journal(path) as journal, journal.keeping(made, BATCHES):
        return expectations(made)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The content of a finished journal."""
    path = tmp_path_factory.mktemp("whole") / "journal.jsonl"
    measured(path, device())
    return path.read_bytes()


def fail():
    raise KetformerError("the device is down for calibration")


def test_a_journal_changes_no_number(path):
    assert torch.equal(measured(path, device()), expectations(device()))


@pytest.mark.parametrize("done", range(BATCHES))
def test_only_what_is_missing_runs_again(path, done):
    with pytest.raises(KetformerError) as caught:
        measured(path, device({done: fail}))
    kept = f"; {done} measured batches are kept in {path}: the same command goes on from there"
    assert str(caught.value) == f"the device is down for calibration{kept if done else ''}"
    again = device()
    assert torch.equal(measured(path, again), expectations(device()))
    assert again.run == BATCHES - done
    assert again.circuits_run == 4 * BATCHES  # all that the result rests on
    idle = device({0: fail})
    assert torch.equal(measured(path, idle), expectations(device()))
    assert (summary(path)["rows"][0]["batches"], idle.run) == (BATCHES, 0)


def test_a_killed_process_loses_one_batch(path):
    process = os.fork()
    if process == 0:  # pragma: no cover
        try:
            measured(path, device({4: lambda: os.kill(os.getpid(), signal.SIGKILL)}))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    again = device()
    assert torch.equal(measured(path, again), expectations(device()))
    assert again.run == BATCHES - 4


@pytest.mark.parametrize("changed", [{"shots": 51}, {"seed": 4}, {"noise": Noise(readout=0.2)}])
def test_settings_do_not_mix(path, changed):
    measured(path, device())
    other = device(**changed)
    assert torch.equal(measured(path, other), expectations(device(**changed)))
    assert other.run == BATCHES
    assert [row["batches"] for row in summary(path)["rows"]] == [BATCHES, BATCHES]


def test_other_circuits_and_angles_do_not_mix(path):
    def one(circuit, angles):
        made = device()
        with Journal(path) as journal, journal.keeping(made):
            made.expectations(circuit, angles, STRINGS)
        return made.run

    angles = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    assert one(CIRCUIT, angles) == 2
    assert one(CIRCUIT, angles) == 0
    assert one(CIRCUIT, angles + 1e-15) == 2
    assert one(CIRCUIT.h(0), angles) == 2
    assert one(Circuit(2).ry(0, "a").cnot(0, 1).rx(1, "c"), angles) == 2


def test_the_same_circuits_again_are_measured_anew(path):
    got = measured(path, device())
    assert not torch.equal(got[0], got[1])
    assert torch.equal(measured(path, device({0: fail})), got)


def test_a_torn_end_is_ignored(path, whole):
    lines = whole.splitlines(keepends=True)
    ends = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    for length in {*range(ends[1] + 3), *range(ends[-2] - 3, ends[-1] + 1), *ends}:
        path.write_bytes(whole[:length])
        if length in ends or length < ends[1]:
            found = read_journal(path)
        else:
            with pytest.warns(UserWarning, match="its last line is torn and is ignored"):
                found = read_journal(path)
        assert len(found) == max(0, sum(end <= length for end in ends) - 2)


@pytest.mark.parametrize("tail", [b'{"crc32": "0000', b"\0" * 700, b"\xff\r\n"])
def test_what_follows_a_torn_end_can_be_read(path, whole, tail):
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1] + tail)
    again = device()
    with pytest.warns(UserWarning, match="torn"):
        got = measured(path, again)
    assert (again.run, torch.equal(got, expectations(device()))) == (1, True)
    assert len(read_journal(path)) == BATCHES + 2  # and two beginnings


def test_damage_is_told_and_nothing_is_written(path, whole):
    lines = whole.splitlines(keepends=True)
    for place in (1, 3):
        broken = [*lines]
        broken[place] = broken[place].replace(b"5", b"6", 1)
        path.write_bytes(b"".join(broken))
        with pytest.raises(KetformerError, match=rf"line {place + 1} is damaged; restore"):
            measured(path, device())
        assert path.read_bytes() == b"".join(broken)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"hello\n", "is not a journal of circuits"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not a journal of circuits"),
        (b'{"loss": 1.0}\n{"loss": 0.9}\n', "is not a journal of circuits"),
    ],
)
def test_a_foreign_file_stays_as_it_is(path, content, told):
    path.write_bytes(content)
    for use in (lambda: measured(path, device()), lambda: summary(path)):
        with pytest.raises(KetformerError, match=told):
            use()
    assert path.read_bytes() == content


def test_a_journal_of_another_version(path, whole, monkeypatch):
    monkeypatch.setattr("ketformer.quantum.backends.journal._VERSION", 2)
    path.write_bytes(whole)
    with pytest.raises(KetformerError, match="written by another version of ketformer"):
        summary(path)


def test_a_full_disk_keeps_what_was_measured(path, monkeypatch):
    write, written = os.write, []

    def full(number, data):
        written.append(data)
        if len(written) > 4:  # the beginning, the settings, and two batches
            write(number, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(number, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(KetformerError, match=r"No space left on device.*; 2 measured batches"):
            measured(path, device())
    again = device()
    assert torch.equal(measured(path, again), expectations(device()))  # and no torn end
    assert again.run == BATCHES - 2


def test_no_circuit_runs_that_the_disk_has_no_room_for(path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(free=4000))
    none = device()
    with pytest.raises(KetformerError, match="make room before they run"):
        measured(path, none)
    assert none.run == 0


def test_two_do_not_write_one_journal(path):
    said = []

    def other():
        try:
            measured(path, device())
        except KetformerError as error:
            said.append(str(error))

    with Journal(path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert said[0].startswith(f"{path}: in use by process {os.getpid()} of ")
    assert said[0].endswith("; wait for it or choose another --journal")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written(path):
    path.touch()
    with pytest.raises(KetformerError, match=r"cannot be written .*; choose another --journal"):
        measured(path / "journal.jsonl", device())


def test_the_summary(path):
    with pytest.raises(KetformerError):
        measured(path, device({3: fail}))
    (row,) = summary(path)["rows"]
    assert row["settings"] == {
        "backend": "device",
        "shots": 50,
        "seed": 3,
        "noise": {"one_qubit": 0.0, "two_qubit": 0.0, "readout": 0.1},
    }
    assert (row["batches"], row["planned"], row["circuits"], row["shots"]) == (3, 6, 12, 600)
    got = expectations(device())
    # Batches: Z of the first and ZZ together, then XX, then the former once more.
    kept = torch.cat([got[0].flatten(), got[1][:, [0, 2]].flatten()])
    assert row["expectation_mean"] == pytest.approx(float(kept.mean()))
    assert row["expectation_min"] == float(kept.min())
    assert row["expectation_max"] == float(kept.max())


@given(n_qubits=st.integers(1, 70), rows=st.lists(st.lists(st.integers(0, 2**63), min_size=3,
       max_size=3), min_size=1, max_size=3))  # fmt: skip
def test_counts_are_the_outcomes_in_another_order(n_qubits, rows):
    outcomes = torch.tensor([[bits % 2 ** min(n_qubits, 63) for bits in row] for row in rows])
    counts = _counts(outcomes, n_qubits)
    assert {len(bits) for row in counts for bits in row} == {n_qubits}
    assert torch.equal(_outcomes(counts, 3), outcomes.sort(dim=-1).values)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "journal.jsonl"


@pytest.mark.filterwarnings("ignore:.*torn")
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_is_never_read(whole, scratch, place, byte):
    """Of a changed file, what is read is the beginning of what was written."""
    place %= len(whole)
    scratch.write_bytes(whole)
    written = read_journal(scratch)
    scratch.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        found = read_journal(scratch)
    except KetformerError:
        return
    assert found == written[: len(found)]
    assert len(found) >= len(written) - (whole[place] != byte)


@pytest.mark.filterwarnings("ignore:.*torn")
@given(st.binary(max_size=200))
def test_any_other_file_is_refused(whole, scratch, content):
    scratch.write_bytes(content)
    if whole.splitlines(keepends=True)[0].startswith(content):
        assert read_journal(scratch) == []
    else:
        with pytest.raises(KetformerError):
            read_journal(scratch)
