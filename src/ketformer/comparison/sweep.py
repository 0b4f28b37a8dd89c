"""The ``sweep`` verb: many values of options, one run each, sorted by validation loss."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ketformer.attention.options import option_value
from ketformer.comparison.jobs import Job
from ketformer.comparison.tables import length_of
from ketformer.comparison.variants import as_file_name
from ketformer.comparison.workers import run_jobs
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings
from ketformer.runs.data import prepare
from ketformer.runs.directory import make_manifest
from ketformer.utils.files import write_json
from ketformer.utils.locks import alone_in_out
from ketformer.utils.mappings import read_json

SWEEP_FILE = "sweep.json"
#: Changes to the settings by key; options of the mechanism are ``attention_options.NAME``, those of
#: the feed-forward layer ``feed_forward_options.NAME``.
Point = dict[str, Any]

_OPTIONS = ("attention_options", "feed_forward_options")
_LONGEST = 100  # characters of a folder's name
_DIGITS = 3  # of a random value, so that the names of runs are exact
_TRIES = 100  # draws for each random point that is wanted


@dataclass(frozen=True)
class Range:
    """Where random values of an option are drawn from.

    Attributes:
        low: the lowest; whole bounds give whole numbers.
        high: the highest.
        log: whether the logarithm is uniform, and not the value.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def parsed(cls, text: str) -> Range:
        """``1e-4:1e-2:log``, or without ``:log``.

        Raises:
            KetformerError: it is not written like that, or is empty.
        """
        low, *rest = map(option_value, text.split(":"))
        log = rest[1:] == ["log"]
        if not rest or (rest[1:] and not log) or not (_is_number(low) and _is_number(rest[0])):
            raise KetformerError(f"a range is written LOW:HIGH or LOW:HIGH:log, got {text!r}")
        if not low < rest[0] or (log and low <= 0):
            raise KetformerError(f"{text!r}: LOW must be below HIGH{', and above 0' * log}")
        return cls(low, rest[0], log)

    def draw(self, source: random.Random) -> float:
        """A random value of three significant digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if whole and not self.log:
            return source.randint(self.low, self.high)  # type: ignore[arg-type]
        value = low + (high - low) * source.random()
        value = math.exp(value) if self.log else value
        return round(value) if whole else float(f"{value:.{_DIGITS}g}")


def parsed_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each key, from ``learning_rate=1e-3,3e-3``.

    Raises:
        KetformerError: a text is not written like that, or a key or value is repeated.
    """
    grid: dict[str, list[Any]] = {}
    for key, listed in _pairs(texts, "KEY=VALUE,VALUE"):
        values = [option_value(part.strip()) for part in listed.split(",") if part.strip()]
        if key in grid or not values or len({_said(value) for value in values}) < len(values):
            raise KetformerError(f"{key}={listed}: each key and value can be swept only once")
        grid[key] = values
    return grid


def parsed_ranges(texts: Sequence[str]) -> dict[str, Range]:
    """The range of each key, from ``learning_rate=1e-4:1e-2:log``.

    Raises:
        KetformerError: a text is not written like that, or a key is repeated.
    """
    ranges: dict[str, Range] = {}
    for key, text in _pairs(texts, "KEY=LOW:HIGH[:log]"):
        if key in ranges:
            raise KetformerError(f"{key} has two ranges")
        ranges[key] = Range.parsed(text)
    return ranges


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the values."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def random_points(
    grid: Mapping[str, Sequence[Any]], ranges: Mapping[str, Range], count: int, seed: int
) -> list[Point]:
    """Different random points; more of them begin with the same ones.

    Args:
        grid: keys with values to draw from.
        ranges: keys with ranges to draw from.
        count: number of points.
        seed: seed of the draws.

    Raises:
        KetformerError: ``count`` is below 1, or there are not so many different points.
    """
    if count < 1:
        raise KetformerError(f"--random must be positive, got {count}")
    source = random.Random(seed)
    points: list[Point] = []
    for _ in range(_TRIES * count):
        point = {key: source.choice(values) for key, values in grid.items()}
        point |= {key: within.draw(source) for key, within in ranges.items()}
        if point not in points:
            points.append(point)
        if len(points) == count:
            return points
    raise KetformerError(
        f"{count} random points were wanted, but only {len(points)} different ones were found"
    )


def name_of(point: Point) -> str:
    """``learning_rate=0.001,n_qubits=4``."""
    prefix = f"{_OPTIONS[0]}."
    return ",".join(f"{key.removeprefix(prefix)}={_said(value)}" for key, value in point.items())


def folder_of(point: Point) -> str:
    """The name as a folder; a long or unusual one is told from others by its hash."""
    name = name_of(point)
    safe = as_file_name(name)
    if safe == name.replace(",", "-") and len(safe) <= _LONGEST:
        return safe
    return f"{safe[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@alone_in_out
def sweep(
    points: Sequence[Point],
    settings: Settings,
    out: str | Path,
    *,
    processes: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Train once with the settings of each point; the result is also saved in ``out/sweep.json``.

    Finished runs in ``out`` are reused, so an interrupted sweep continues, and a sweep can be
    extended by further values.

    Args:
        points: what each run changes in the settings.
        settings: the settings they share.
        out: folder for the runs, one for each point, and the result.
        processes: how many runs at once.
        progress: show a table on standard error.

    Returns:
        ``rows``, the lowest validation loss first: ``name``, ``changes``, ``parameters``,
        ``eval_loss`` (at the end of training; None if not finite, at the end) and ``run``; and
        ``notes`` for the reader.

    Raises:
        KetformerError: a key or value is wrong, or ``out`` holds other runs; nothing is trained.
            Or another process is using ``out``.
    """
    out = Path(out)
    jobs = [
        Job(name_of(point), "run", _settings(settings, point), out / folder_of(point))
        for point in points
    ]
    names = [job.row for job in jobs]
    if len(set(names)) < len(names):
        raise KetformerError("each point can be swept only once")
    _check_file(out / SWEEP_FILE, names)
    data_keys = prepare(settings, progress=progress).model_keys
    sizes = [_parameters(job, data_keys) for job in jobs]
    answers = run_jobs(jobs, processes=processes, progress=progress)
    rows = [
        {"name": job.row, "changes": point, "parameters": size, **answer, "run": str(job.path)}
        for job, point, size, answer in zip(jobs, points, sizes, answers, strict=True)
    ]
    rows.sort(key=lambda row: math.inf if row["eval_loss"] is None else row["eval_loss"])
    result = {
        "manifest": make_manifest(processes=processes),
        "settings": settings.to_dict(),
        "rows": rows,
        "notes": _notes(rows, settings),
    }
    write_json(out / SWEEP_FILE, result)
    return result


def _settings(settings: Settings, point: Point) -> Settings:
    # A run's own settings name the seed, by which a finished run is recognised.
    changes: dict[str, Any] = {"seed": settings.training.get("seed", 42)}
    options: dict[str, dict[str, Any]] = {key: {} for key in _OPTIONS}
    own = {field.name for field in fields(Settings)}
    for key, value in point.items():
        if key in own or key in _OPTIONS:
            raise KetformerError(
                f"{key} cannot be swept: only options of training, the model, and the mechanism or "
                f"the feed-forward layer ({_OPTIONS[0]}.NAME, {_OPTIONS[1]}.NAME)"
            )
        part, _, option = key.partition(".")
        if part in _OPTIONS:
            options[part][option] = value
        else:
            changes[key] = value
    for part, chosen in options.items():
        if chosen:
            given = settings.override(changes).model.get(part) or {}
            changes[part] = {**given, **chosen}
    return settings.override(changes)


def _parameters(job: Job, data_keys: Mapping[str, Any]) -> int:
    """The model's number of parameters; finds options that do not go together before any work."""
    try:
        with torch.device("meta"):
            model = KetformerForCausalLM(KetformerConfig(**{**data_keys, **job.settings.model}))
    except KetformerError as error:
        raise KetformerError(f"{job.row}: {error}") from None
    return int(model.num_parameters())


def _check_file(file: Path, names: Sequence[str]) -> None:
    """Refuse to replace the table of a sweep with one that lacks some of its rows."""
    if not file.is_file():
        return
    rows = read_json(file).get("rows")
    known = [row.get("name") for row in rows if isinstance(row, dict)] if rows else []
    if gone := [name for name in known if name not in names]:
        raise KetformerError(
            f"{file} has {gone[0]}, which this sweep lacks; sweep it too, or choose another --out"
        )


def _notes(rows: Sequence[dict[str, Any]], settings: Settings) -> list[str]:
    """Notes for the reader, one sentence each."""
    best = rows[0]["changes"]
    alike = (
        [] if {"max_steps", "num_train_epochs"} & best.keys() else [length_of(settings.training)]
    )
    alike += [] if "seed" in best else [f"seed {settings.training.get('seed', 42)}"]
    notes = [
        f"{', '.join([f'{len(rows)} runs', *alike])}: the validation loss in nats per token at "
        "the end of training."
    ]
    for key, value in best.items():
        tried = sorted({row["changes"][key] for row in rows if _is_number(row["changes"][key])})
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            end = "lowest" if value == tried[0] else "highest"
            notes.append(f"The best {key} is the {end} tried: one beyond it may be better.")
    if failed := [row["name"] for row in rows if row["eval_loss"] is None]:
        notes.append(f"The loss was not finite: {'; '.join(failed)}.")
    return notes


def _pairs(texts: Sequence[str], form: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise KetformerError(f"written as {form}, got {text!r}")
        pairs.append((key, value))
    return pairs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
