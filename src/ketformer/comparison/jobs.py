"""A run to train and evaluate, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError, NotFiniteError
from ketformer.evaluation import evaluate, save_evaluation
from ketformer.runs import Settings, load_settings, open_run, read_metrics
from ketformer.runs.directory import SETTINGS_FILE, WEIGHTS_FILE, read_evaluation
from ketformer.training import train
from ketformer.training.trainer import NOT_FINITE
from ketformer.utils.locks import in_use

# Seconds that a worker whose parent was killed may take to save a checkpoint.
_LAST_STEP = 60


@dataclass(frozen=True)
class Job:
    """A run to train and evaluate.

    Attributes:
        row: its row in the table shown.
        column: its column there.
        settings: all settings, including the seed.
        path: the run directory; a finished run in it is reused.
        evaluation: arguments of :func:`~ketformer.evaluation.evaluate`. None marks a trial, whose
            result is only the last validation loss, or None if that is not finite.
    """

    row: str
    column: str
    settings: Settings
    path: Path
    evaluation: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """Its row and column."""
        return f"{self.row}, {self.column}"

    @property
    def last(self) -> str:
        """The weights: a run with weights is finished."""
        return WEIGHTS_FILE

    def run(self) -> dict[str, Any]:
        """Train and evaluate one run, or return what is already there.

        Raises:
            KetformerError: the folder holds a run with other settings or is in use, or training
                fails.
        """
        if (known := self.answer()) is not None:
            return known
        path, trial = self.path, self.evaluation is None
        with in_use(path, wait=_LAST_STEP):
            if not (path / WEIGHTS_FILE).is_file():
                try:
                    train(self.settings, path, resume=True, progress=False)
                except NotFiniteError:
                    if trial:  # a rate that is too high is a result too
                        return {"eval_loss": None}
                    raise
            if trial:
                return _last_loss(path)
            run = open_run(path)
            # The rows of a comparison are timed side by side, once all are trained.
            result = evaluate(run, **(self.evaluation or {}), timed=False, progress=False)
            save_evaluation(run, result)
            return result

    def answer(self) -> dict[str, Any] | None:
        """What a finished run answers; None if there is anything left to do.

        Raises:
            KetformerError: the folder holds a run with other settings.
        """
        path = self.path
        if not (path / SETTINGS_FILE).is_file():
            return None
        if load_settings(str(path / SETTINGS_FILE)) != self.settings:
            raise KetformerError(f"{path} holds a run with other settings; choose another --out")
        if self.evaluation is not None:
            return read_evaluation(path)
        if (path / WEIGHTS_FILE).is_file():
            return _last_loss(path)
        return {"eval_loss": None} if (path / NOT_FINITE).is_file() else None


def _last_loss(path: Path) -> dict[str, Any]:
    """The answer of a trial: its last validation loss, None if that is not finite."""
    losses = [row["eval_loss"] for row in read_metrics(path) if "eval_loss" in row]
    return {"eval_loss": losses[-1] if losses and math.isfinite(losses[-1]) else None}
