"""The subject of a report: a result, and the run directories it came from."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ketformer.comparison.tables import Columns, columns_of
from ketformer.errors import KetformerError
from ketformer.runs import Run, open_run, read_metrics
from ketformer.runs.directory import read_evaluation, weights_sha256
from ketformer.tasks.metric import CURVES, TASKS, metrics_of

_KINDS: dict[str, tuple[type, str]] = {
    "name": (str, "text"),
    "causal": (bool, "true or false"),
    "attention": (str, "text"),
    "attention_options": (dict, "a mapping"),
    "sample": (str, "text"),
    "run": (str, "text"),
    "control": (str, "text"),
    "role": (str, "text"),
    "paired": (dict, "a mapping"),
    "published": (dict, "a mapping"),
    "target_errors": (list, "a list"),
    "weights_sha256": (list, "a list"),
}
_NUMBERS = ("parameters", "inference_ms", "relative_inference_time", "learning_rate", "seeds")
_NEEDED = ("name", "causal")
#: Losses that training logs, by key.
LOSSES = {"eval_loss": "validation loss (nats)", "loss": "training loss (nats)"}


@dataclass
class Study:
    """A checked result of one task.

    Attributes:
        result: see :func:`ketformer.comparison.run_variants`; its ``rows`` are checked.
        folder: where to look first for its run directories.
        name: name of the study, on a page with several.
    """

    result: dict[str, Any]
    folder: Path
    name: str = ""
    _opened: dict[str, Run | None] = field(default_factory=dict, init=False, repr=False)

    @property
    def task(self) -> str:
        """``text`` or ``molecules``."""
        return str(self.result["settings"].get("task", "text"))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, one for each mechanism."""
        rows: list[dict[str, Any]] = self.result["rows"]
        return rows

    @property
    def columns(self) -> Columns:
        """The columns of the table, from the result if it has any."""
        columns: Columns = self.result.get("columns") or columns_of(self.result)
        return columns

    @property
    def notes(self) -> list[str]:
        """The result's notes, one sentence each."""
        notes: list[str] = self.result.get("notes") or []
        return notes

    def first(self, row: dict[str, Any]) -> Path | None:
        """The run directory of a row's first seed; None if it is gone or was trained on."""
        path = self._found(row["run"]) if row.get("run") else None
        return path if path and self._is_measured(row, 0, path) else None

    def all_runs(self, row: dict[str, Any]) -> list[Path]:
        """The run directories of a row's seeds that still hold the weights it is about."""
        first = row.get("run")
        if not first:
            return []
        stem, mark, _ = first.rpartition("-seed")
        seeds = self.result.get("seeds")
        names = [f"{stem}{mark}{seed}" for seed in seeds] if mark and seeds else [first]
        found = enumerate(map(self._found, names))
        return [path for i, path in found if path and self._is_measured(row, i, path)]

    def open(self, row: dict[str, Any]) -> Run | None:
        """The run of a row's first seed; None if it is gone.

        Raises:
            KetformerError: the run exists but is broken.
        """
        name = row["name"]
        if name not in self._opened:
            path = self.first(row)
            self._opened[name] = open_run(path) if path else None
        return self._opened[name]

    def open_all(self) -> None:
        """Open all existing runs and keep them open.

        Raises:
            KetformerError: a run or its evaluation is broken.
        """
        for row in self.rows:
            self.open(row)
            self.curves(row)

    @cached_property
    def missing(self) -> list[str]:
        """Names of the rows whose run is gone."""
        return [row["name"] for row in self.rows if self.first(row) is None]

    @cached_property
    def changed(self) -> list[str]:
        """Names of those whose run is there, but with other weights than were measured."""
        there = {row["name"] for row in self.rows if row.get("run") and self._found(row["run"])}
        return [name for name in self.missing if name in there]

    def curves(self, row: dict[str, Any]) -> tuple[list[Any], list[Any]] | None:
        """Losses by position, teacher-forced and with the prefix alone, if they were saved."""
        forced, prefix = CURVES[self.task]
        held: Any = row
        if forced not in row and (path := self.first(row)):
            held = _plain(read_evaluation(path) or {})
        if not (_is_curve(held.get(forced)) and _is_curve(held.get(prefix))):
            return None
        return held[forced], held[prefix]

    def losses(self, key: str) -> dict[str, list[list[tuple[float, float]]]]:
        """The (step, loss) points of each seed of each row that has any, for a key of LOSSES."""
        found: dict[str, list[list[tuple[float, float]]]] = {}
        for row in self.rows:
            for run in self.all_runs(row):
                if points := _points(read_metrics(run), key):
                    found.setdefault(row["name"], []).append(points)
        return found

    def _is_measured(self, row: dict[str, Any], number: int, path: Path) -> bool:
        """Whether a run has the weights that the row's numbers are of; older rows do not say."""
        measured = row.get("weights_sha256") or []
        return number >= len(measured) or measured[number] == weights_sha256(path)

    def _found(self, written: str) -> Path | None:
        """The run directory next to the result, or where it was when the result was written."""
        own = Path(written).name
        for path in (self.folder / own, self.folder / self.task / own, Path(written)):
            if own and (path / "model.safetensors").is_file():
                return path
        return None


def checked(result: dict[str, Any], where: Path | str) -> dict[str, Any]:
    """The result, validated and cleaned for a page.

    Raises:
        KetformerError: it is not a result of ``compare``, ``reproduce`` or ``demo``, or a row is
            broken.
    """
    result = _plain(result)
    settings, rows = result.get("settings"), result.get("rows")
    if not isinstance(settings, dict) or not isinstance(rows, list) or not rows:
        raise KetformerError(f"{where}: not a result of compare, reproduce or demo")
    task = settings.get("task", "text")
    if task not in TASKS:
        raise KetformerError(f"{where}: unknown task {task!r}")
    names = [metric.name for metric in metrics_of(task)]
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise KetformerError(f"{where}: row {number} is not a mapping")
        _check_row(row, names, f"{where}: row {number}")
    if len({row["name"] for row in rows}) != len(rows):
        raise KetformerError(f"{where}: two rows have the same name")
    columns, notes = result.get("columns") or [], result.get("notes") or []
    if not isinstance(columns, list) or not all(map(_is_column, columns)):
        raise KetformerError(f"{where}: columns must be pairs of a heading and a key")
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise KetformerError(f"{where}: notes must be a list of sentences")
    if not isinstance(result.get("seeds", []), list):
        raise KetformerError(f"{where}: seeds must be a list, got {result['seeds']!r}")
    return {**result, "settings": {**settings, "task": task}}


def _check_row(row: dict[str, Any], metrics: Sequence[str], where: str) -> None:
    for key, (kind, said) in _KINDS.items():
        value = row.get(key)
        if not isinstance(value, kind) and (value is not None or key in _NEEDED):
            raise KetformerError(f"{where}: {key} must be {said}, got {str(value)[:60]!r}")
    for key in _NUMBERS:
        if row.get(key) is not None and not is_number(row[key]):
            raise KetformerError(f"{where}: {key} must be a number, got {str(row[key])[:60]!r}")
    for key in metrics:
        row[key] = _interval(row.get(key), f"{where}: {key}")


def _interval(value: Any, where: str) -> dict[str, Any]:
    """Mean, bounds and values; the bounds are both numbers or both None."""
    if value is None:
        value = {}
    if not isinstance(value, dict) or not isinstance(value.get("values", []), list):
        raise KetformerError(f"{where} must be a mean with its interval, got {str(value)[:60]!r}")
    mean, low, high = (value.get(key) for key in ("mean", "low", "high"))
    values = value.get("values", [])
    for number in (mean, low, high, *values):
        if number is not None and not is_number(number):
            raise KetformerError(f"{where} must hold numbers, got {str(number)[:60]!r}")
    if low is None or high is None or mean is None:
        low = high = None
    return {"mean": mean, "low": low, "high": high, "values": values}


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be plotted."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _points(logged: list[Any], key: str) -> list[tuple[float, float]]:
    return [
        (line["step"], line[key])
        for line in logged
        if isinstance(line, dict) and is_number(line.get("step")) and is_number(line.get(key))
        and line[key] == line[key]  # a loss may be NaN
    ]  # fmt: skip


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _is_curve(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(number is None or is_number(number) for number in value)
        and any(number is not None for number in value)
    )


def _plain(value: Any) -> Any:
    """A value without non-finite numbers and without characters that a page cannot hold."""
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return "".join(
            "�" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in value
        )
    return value
