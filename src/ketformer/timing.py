"""Timings that can be compared: the candidates take turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any


def interleaved(
    timed: dict[str, Callable[[], Any]], repeats: int, step: Callable[[int, int], None]
) -> dict[str, list[float]]:
    """Seconds of each, taking turns so that a busy moment of the machine hits all alike.

    Args:
        timed: what to run, by name; each is run once before, which fills its caches.
        repeats: rounds.
        step: called with (done, total).
    """
    for work in timed.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(repeats):
        for name, work in timed.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
        step(round_ + 1, repeats)
    return seconds


def compared(
    seconds: dict[str, list[float]], against: str, work: str, device: str
) -> list[dict[str, Any]]:
    """A row for each of :func:`interleaved`'s timings: medians, range, and ``ratio`` to one."""
    return [
        {
            "name": name,
            "work": work,
            "ratio": median(times) / median(seconds[against]),
            "against": against,
            "median_ms": 1000 * median(times),
            "low_ms": 1000 * min(times),
            "high_ms": 1000 * max(times),
            "device": device,
        }
        for name, times in seconds.items()
    ]
