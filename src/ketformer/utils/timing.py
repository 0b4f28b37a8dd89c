"""Comparable timings: the candidates take turns."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Timed passes of a model, whose median counts: at least the first, at most the second.
_FEWEST_PASSES, _PASSES = 5, 20
# No more are timed once the middle half of each model's lie within this share of their median.
_SETTLED = 0.02
_PROFILES: ContextVar[Path | None] = ContextVar("profiles", default=None)


def bench_device() -> torch.device:
    """The accelerator if there is one, otherwise the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def finished(work: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """The work, followed by a wait until the device has finished it."""

    def run() -> None:
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return run


@contextmanager
def profiles_in(folder: Path | None) -> Iterator[None]:
    """Within this block, :func:`interleaved` also runs each candidate once under torch's profiler.

    Args:
        folder: where a table (``.txt``) and a trace (``.json``, for Perfetto or Chrome) of
            each candidate go; None turns profiling off.
    """
    token = _PROFILES.set(folder)
    try:
        yield
    finally:
        _PROFILES.reset(token)


def interleaved(
    timed: dict[str, Callable[[], Any]],
    repeats: int,
    step: Callable[[int, int], None] | None = None,
    label: str = "",
    *,
    warmups: int = 1,
    enough: Callable[[Mapping[str, list[float]]], bool] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each candidate; they take turns, so that a busy moment affects all alike.

    Args:
        timed: the candidates, by name.
        repeats: timed rounds.
        step: called with (done, total).
        label: what they do, for the name of a profile.
        warmups: untimed rounds beforehand, which fill caches.
        enough: called with the seconds after each round; whether they suffice.
    """
    for _ in range(warmups):
        for work in timed.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(repeats):
        for name, work in timed.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
        if step:
            step(round_ + 1, repeats)
        if enough and enough(seconds):
            break
    folder = _PROFILES.get()
    if folder is not None:
        for name, work in timed.items():
            _profile(work, folder, f"{label} {name}")
    return seconds


def _profile(work: Callable[[], Any], folder: Path, title: str) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        work()
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^a-z0-9_]+", "-", title.lower()).strip("-")
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table = profile.key_averages().table(sort_by=by, row_limit=40)
    (folder / f"{stem}.txt").write_text(f"{title}\n{table}\n", encoding="utf-8")
    profile.export_chrome_trace(str(folder / f"{stem}.json"))


def compared(
    seconds: dict[str, list[float]], against: str, work: str, device: str
) -> list[dict[str, Any]]:
    """A row for each candidate of :func:`interleaved`: median, range, and ``ratio`` to one."""
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


def inference_seconds(
    models: Mapping[str, PreTrainedModel],
    inputs: Mapping[str, Mapping[str, Tensor]],
    repeats: int | None = None,
    step: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Median seconds of one forward pass of each model, without decoding any text.

    Args:
        models: by name, in evaluation mode.
        inputs: by the same names, each model's inputs, at least ``input_ids``.
        repeats: timed passes of each model; by default 20, or as few as 5 once the middle half of
            each model's times lie within 2 % of their median.
        step: called with (done, total).
    """

    def work(name: str) -> Callable[[], None]:
        model = models[name]
        on = {key: value.to(model.device) for key, value in inputs[name].items()}
        return finished(partial(model, **on, use_cache=False), model.device)

    with torch.inference_mode():
        timed = {name: work(name) for name in models}
        seconds = interleaved(
            timed, repeats or _PASSES, step, warmups=3, enough=None if repeats else _settled
        )
    return {name: median(times) for name, times in seconds.items()}


def _settled(seconds: Mapping[str, list[float]]) -> bool:
    """Whether more rounds would hardly move the medians."""
    for times in seconds.values():
        if len(times) < _FEWEST_PASSES:
            return False
        low, middle, high = quantiles(times, n=4)
        if high - low > _SETTLED * middle:
            return False
    return True
