"""``bench start``: what a command takes before its work begins, each time in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from ketformer.errors import KetformerError
from ketformer.utils.machine import describe_machine
from ketformer.utils.progress import Bars

_AGAINST = "python"
_MODULE = ("-m", "ketformer")


class _Times(NamedTuple):
    cpu: float
    wall: float


def bench_start(verbs: Sequence[str], *, repeats: int = 5, progress: bool = True) -> dict[str, Any]:
    """Time the help of each verb, the import of the package, and the audit of one mechanism.

    Each is a process of its own, and they take turns. One round before the first leaves the
    compiled bytecode and the files in memory.

    Args:
        verbs: those of the command.
        repeats: processes for each; the median counts.
        progress: show a bar on standard error.

    Returns:
        ``rows``: each with ``name``, ``work``, ``cpu_ms`` of user and system together, the time
        that passed (``median_ms``, ``low_ms``, ``high_ms``), ``ratio`` of its ``cpu_ms`` to that
        of ``against``, an interpreter that does nothing, and ``device``; ``machine``.

    Raises:
        KetformerError: a command fails.
    """
    if repeats < 1:
        raise KetformerError("repeats must be positive")
    starts = _starts(verbs)
    times: dict[str, list[_Times]] = {name: [] for name in starts}
    with Bars(progress, "round") as bars:
        step = bars("start")
        for round_ in range(repeats + 1):
            for name, (_, arguments) in starts.items():
                times[name].append(_times(name, arguments))
            step(round_, repeats)
    cpu = {name: 1000 * median(t.cpu for t in own[1:]) for name, own in times.items()}
    wall = {name: [1000 * t.wall for t in own[1:]] for name, own in times.items()}
    rows = [
        {
            "name": name,
            "work": work,
            "ratio": cpu[name] / cpu[_AGAINST],
            "against": _AGAINST,
            "cpu_ms": cpu[name],
            "median_ms": median(wall[name]),
            "low_ms": min(wall[name]),
            "high_ms": max(wall[name]),
            "device": "cpu",
        }
        for name, (work, _) in starts.items()
    ]
    return {"rows": rows, "repeats": repeats, "machine": describe_machine()}


def _starts(verbs: Sequence[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is timed, by name: the work and Python's arguments."""
    return {
        _AGAINST: ("nothing", ("-c", "pass")),
        "import ketformer": ("import", ("-c", "import ketformer")),
        "ketformer": ("help", (*_MODULE, "--help")),
        **{f"ketformer {verb}": ("help", (*_MODULE, verb, "--help")) for verb in verbs},
        "ketformer audit --attention overlap": (
            "audit",
            (*_MODULE, "audit", "--attention", "overlap"),
        ),
    }


def _times(name: str, arguments: tuple[str, ...]) -> _Times:
    """Seconds of one process."""
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryFile() as told:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], env=kept, stdout=subprocess.DEVNULL, stderr=told
        )
        _, status, used = os.wait4(process.pid, 0)  # unlike wait, it tells the processor's time
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        if process.returncode:
            raise KetformerError(f"{name} failed: {told.read().decode(errors='replace')}")
    return _Times(used.ru_utime + used.ru_stime, wall)
