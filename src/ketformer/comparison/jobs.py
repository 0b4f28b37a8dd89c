"""A run to train and to measure, as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError, NotFiniteError
from ketformer.evaluation import EVALUATION, evaluate, save_evaluation
from ketformer.runs import Settings, load_settings, open_run, read_metrics
from ketformer.runs.directory import SETTINGS_FILE, WEIGHTS_FILE
from ketformer.training import train
from ketformer.training.trainer import NOT_FINITE
from ketformer.utils.mappings import read_json


@dataclass(frozen=True)
class Job:
    """One run to train and to measure.

    Attributes:
        row: what it belongs to, in the table that is shown.
        column: which of the row's runs it is.
        settings: all of them, the seed too.
        path: the run directory. A run that is finished there is taken as it is.
        evaluation: arguments of :func:`~ketformer.evaluation.evaluate`. None is for a trial: the
            answer is the last validation loss alone, and None if that was no number.
    """

    row: str
    column: str
    settings: Settings
    path: Path
    evaluation: Mapping[str, Any] | None = None


def run_job(job: Job) -> dict[str, Any]:
    """Train and measure one run, or take what is there.

    Raises:
        KetformerError: the folder holds a run with other settings, or it cannot be trained.
    """
    path = job.path
    if (path / SETTINGS_FILE).is_file():
        if load_settings(str(path / SETTINGS_FILE)) != job.settings:
            raise KetformerError(f"{path} holds a run with other settings; choose another --out")
        if job.evaluation is not None and (path / EVALUATION).is_file():
            return read_json(path / EVALUATION)
    trial = job.evaluation is None
    if not (path / WEIGHTS_FILE).is_file():
        if trial and (path / NOT_FINITE).is_file():
            return {"eval_loss": None}
        try:
            train(job.settings, path, resume=True, progress=False)
        except NotFiniteError:
            if trial:  # that a rate is too high is an answer too
                return {"eval_loss": None}
            raise
    if trial:
        losses = [row["eval_loss"] for row in read_metrics(path) if "eval_loss" in row]
        return {"eval_loss": losses[-1] if losses and math.isfinite(losses[-1]) else None}
    run = open_run(path)
    result = evaluate(run, **(job.evaluation or {}), progress=False)
    save_evaluation(run, result)
    return result
