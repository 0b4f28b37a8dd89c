"""A journal of measured circuits, from which a stopped evaluation goes on.

It is a file of JSON lines that only grows. Each begins with a checksum of its rest and is on the
disk before the next circuits run, so whatever ends the process can only leave the last one torn.

A batch is known by a hash of everything that its outcomes depend on: the circuit, its angles, the
shots, the backend and its options. What was measured otherwise is never used.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.backends.base import Backend
from ketformer.quantum.backends.batch import Batch, Jobs, hash_of
from ketformer.quantum.measurement import parities
from ketformer.quantum.pauli import PauliStrings
from ketformer.utils.files import read_bytes
from ketformer.utils.locks import file_in_use

#: The file's name in a run directory.
JOURNAL_FILE = "journal.jsonl"

_FORMAT, _VERSION = "ketformer circuit journal", 1
_CHECKSUM = '{"crc32": "%08x", '
# What a row of counts takes besides its digits, and a batch besides its counts, in bytes.
_AROUND_A_COUNT, _AROUND_A_BATCH = 6, 4096


class Journal:
    """Outcomes kept in a file while it is open as a context manager.

    Args:
        path: the file, created if missing.

    Raises:
        KetformerError: on opening: the file is damaged or not a journal, cannot be written, or
            another process uses it. A torn last line is dropped with a warning.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        #: Circuits whose outcomes were found in the file.
        self.circuits_found = 0
        self._batches: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, dict[int, str]] = {}

    def __enter__(self) -> Journal:
        with ExitStack() as held:
            try:
                held.enter_context(file_in_use(self.path, "--journal"))
                self._open(held)
            except OSError as error:
                raise KetformerError(
                    f"{self.path}: cannot be written ({error.strerror}); choose another --journal"
                ) from None
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @contextmanager
    def keeping(self, backend: Backend, planned: int | None = None) -> Iterator[None]:
        """Inside this context, shots of ``backend`` are taken from the journal or added to it.

        What is measured twice inside it is kept twice; a second context with the same settings
        finds what the first has measured.

        Args:
            backend: measures what the journal lacks.
            planned: number of batches that are expected in all, for :func:`summary`.

        Raises:
            KetformerError: as the block does; the message adds what is kept.
        """
        settings, name = backend.settings, hash_of(backend.settings)
        if " at 0x" in json.dumps(settings):  # an object that only Python's memory tells apart
            warnings.warn(
                f"{self.path}: another process cannot find these circuits again, because an "
                "option is an object without a name; give the device by its name",
                stacklevel=3,
            )
        where = {key: backend.provenance()[key] for key in ("device", "calibration_date")}
        entry = {"settings": settings, "id": name, "planned": planned, "began": _now(), **where}
        self._write(entry)
        keep, measured = backend.keep, backend.measured
        backend.keep, backend.measured = partial(self._outcomes, backend, name), Counter()
        try:
            yield
        except KetformerError as error:
            if not (kept := len(self._batches)):
                raise
            raise KetformerError(
                f"{error}; {kept} measured batches are kept in {self.path}: the same command goes "
                "on from there"
            ) from error
        finally:
            backend.keep, backend.measured = keep, measured

    def _outcomes(
        self, backend: Backend, settings: str, batch: Batch, measure: Callable[[], Tensor]
    ) -> Tensor:
        """What ``measure`` returned for this batch before, in ascending order, or returns now."""
        key = hash_of([settings, batch.content, batch.repeats])
        if (found := self._batches.get(key)) is not None:
            self.circuits_found += len(batch.rows)
            return _outcomes(found["counts"], batch.shots)
        n_qubits = batch.circuit.n_qubits
        self._require_space(len(batch.rows), n_qubits, batch.shots)
        began = time.monotonic()
        note = partial(self._submitted, settings, key)
        backend.jobs = Jobs(dict(self._jobs.get(key, {})), note)
        try:
            measured = measure()
        finally:
            backend.jobs = None
        entry = {
            "batch": key,
            "settings": settings,
            "qubits": n_qubits,
            "gates": len(batch.circuit.gates),
            "shots": batch.shots,
            "strings": list(batch.strings.strings),
            "jobs": list(self._jobs.get(key, {}).values()),
            "ended": _now(),
            "seconds": time.monotonic() - began,
            "counts": _counts(measured, n_qubits),
        }
        self._write(entry)
        self._batches[key] = entry
        return measured

    def _submitted(self, settings: str, key: str, number: int, job: str) -> None:
        """Note a job of a batch, so that another process can ask for its results."""
        self._jobs.setdefault(key, {})[number] = job
        self._write({"submitted": job, "number": number, "of": key, "settings": settings})

    def _open(self, held: ExitStack) -> None:
        new = not self.path.exists()
        entries, length = ([], 0) if new else _read(self.path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        held.callback(os.close, self._file)
        os.ftruncate(self._file, length)
        if new:
            _sync_folder(self.path.parent)
        if not length:
            self._write(_first())
        for entry in entries:
            if "batch" in entry:
                self._batches[entry["batch"]] = entry
            elif "submitted" in entry:
                self._jobs.setdefault(entry["of"], {})[entry["number"]] = entry["submitted"]

    def _write(self, entry: Mapping[str, Any]) -> None:
        """Append one line, whole or not at all, and wait until it is on the disk."""
        line = _line(entry)
        before = os.fstat(self._file).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, before)
            raise KetformerError(
                f"{self.path}: cannot be written ({error.strerror}); make room for it"
            ) from None

    def _require_space(self, circuits: int, n_qubits: int, shots: int) -> None:
        """Refuse to measure what the disk has no room for."""
        one = n_qubits + len(str(shots)) + _AROUND_A_COUNT
        need = _AROUND_A_BATCH + circuits * min(2**n_qubits, shots) * one
        free = shutil.disk_usage(self.path.parent).free
        if free < need:
            raise KetformerError(
                f"{self.path}: the disk has {free / 2**20:.1f} MiB left, the next circuits need "
                f"{need / 2**20:.1f}; make room before they run"
            )


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The entries of a journal, the first one left out; a torn last line gives a warning.

    Raises:
        KetformerError: it cannot be read, is damaged, or is not a journal.
    """
    return _read(path)[0]


def summary(path: str | Path) -> dict[str, Any]:
    """What a journal holds so far; another process may be writing it.

    Returns:
        ``journal``, and ``rows``, one for each setting of backend and options: its ``settings``,
        ``device`` and ``calibration_date``, where there are such; ``batches`` measured and
        ``planned`` (None if unknown), ``circuits``, their ``shots`` in all, ids of the ``jobs``
        that gave them and of those ``waiting`` whose results are not here yet, ``seconds`` of
        measuring, ``began`` and ``last``, and ``expectation_mean``, ``expectation_min`` and
        ``expectation_max`` over circuits and measured strings (None before the first batch).

    Raises:
        KetformerError: as in :func:`read_journal`.
    """
    rows: dict[str, dict[str, Any]] = {}
    values: dict[str, list[Tensor]] = {}
    waiting: dict[tuple[str, int], dict[str, Any]] = {}
    done: set[str] = set()
    for entry in read_journal(Path(path)):
        if "id" in entry:
            row = rows.setdefault(entry["id"], _empty(entry))
            row["planned"] = entry["planned"] or row["planned"]
        elif "submitted" in entry:
            waiting[entry["of"], entry["number"]] = entry
        else:
            row = rows[entry["settings"]]
            done.add(entry["batch"])
            row["jobs"] += entry["jobs"]
            row["batches"] += 1
            row["circuits"] += len(entry["counts"])
            row["shots"] += len(entry["counts"]) * entry["shots"]
            row["seconds"] += entry["seconds"]
            row["last"] = entry["ended"]
            outcomes = _outcomes(entry["counts"], entry["shots"])
            found = parities(outcomes, PauliStrings(tuple(entry["strings"])))
            values.setdefault(entry["settings"], []).append(found.flatten())
    for name, parts in values.items():
        every = torch.cat(parts)
        for what in ("mean", "min", "max"):
            rows[name][f"expectation_{what}"] = float(getattr(every, what)())
    for (batch, _), entry in waiting.items():
        if batch not in done:
            rows[entry["settings"]]["waiting"].append(entry["submitted"])
    return {"journal": str(path), "rows": list(rows.values())}


def _empty(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "settings": entry["settings"],
        "device": entry["device"],
        "calibration_date": entry["calibration_date"],
        "batches": 0,
        "planned": entry["planned"],
        "circuits": 0,
        "shots": 0,
        "jobs": [],
        "waiting": [],
        "seconds": 0.0,
        "began": entry["began"],
        "last": None,
        "expectation_mean": None,
        "expectation_min": None,
        "expectation_max": None,
    }


def _first() -> dict[str, Any]:
    return {"format": _FORMAT, "version": _VERSION}


def _line(entry: Mapping[str, Any]) -> bytes:
    rest = json.dumps(entry, ensure_ascii=False)[1:].encode() + b"\n"
    return (_CHECKSUM % zlib.crc32(rest)).encode() + rest


def _entry(line: bytes) -> dict[str, Any] | None:
    """The entry in a line; None if the line is not whole."""
    wide = len(_CHECKSUM % 0)
    if line[:wide] != (_CHECKSUM % zlib.crc32(line[wide:])).encode() or line[-1:] != b"\n":
        return None
    found: dict[str, Any] = json.loads(line)
    del found["crc32"]
    return found


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The entries after the first, and the length in bytes of all whole lines."""
    content = read_bytes(path)
    first = _line(_first())
    if first.startswith(content):  # ended while, or just after, the first line was written
        return [], len(content) if content == first else 0
    lines = io.BytesIO(content).readlines()
    entries = [_entry(line) for line in lines]
    if entries[0] is None or entries[0].get("format") != _FORMAT:
        raise KetformerError(f"{path} is not a journal of circuits")
    if entries[0] != _first():
        raise KetformerError(f"{path} was written by another version of ketformer")
    if entries[-1] is None:
        warnings.warn(
            f"{path}: its last line is torn and is ignored; the circuits of it run again",
            stacklevel=3,
        )
        del entries[-1], lines[-1]
    whole = [entry for entry in entries if entry is not None]
    if len(whole) < len(entries):
        raise KetformerError(
            f"{path}: line {entries.index(None) + 1} is damaged; restore the file from a copy"
        )
    return whole[1:], sum(map(len, lines))


def _counts(outcomes: Tensor, n_qubits: int) -> list[dict[str, int]]:
    """How often each row saw which bits, qubit 0 first."""
    return [
        {
            f"{bits:0{n_qubits}b}": times
            for bits, times in zip(*map(Tensor.tolist, seen), strict=True)
        }
        for seen in (row.unique(return_counts=True) for row in outcomes)
    ]


def _outcomes(counts: Sequence[Mapping[str, int]], shots: int) -> Tensor:
    """Basis indices ``[N, shots]``, in ascending order."""
    rows = [
        torch.repeat_interleave(
            torch.tensor([int(bits, 2) for bits in row]), torch.tensor([*row.values()])
        )
        for row in counts
    ]
    return torch.stack(rows).reshape(len(counts), shots)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _sync_folder(folder: Path) -> None:
    """Keep the name of a new file on the disk, not only its content."""
    with suppress(OSError):  # not every file system can
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
