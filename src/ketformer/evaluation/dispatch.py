"""The ``evaluate`` verb: every metric of the task, leaks included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketformer.evaluation.molecules import evaluate_molecules
from ketformer.evaluation.text import evaluate_text
from ketformer.runs import Run
from ketformer.runs.card import write_run_card
from ketformer.runs.directory import EVALUATION_FILE
from ketformer.utils.files import write_json


def evaluate(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    samples: int = 10_000,
    with_fcd: bool | None = None,
    targets: int = 0,
    moses: bool | None = None,
    oracles: Sequence[str] = (),
    constrained: bool = False,
    guidance: float = 1.0,
    best_of: int = 1,
    timed: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained model by all metrics of its task.

    See :func:`evaluate_text` and
    :func:`~ketformer.evaluation.evaluate_molecules`; ``samples`` and all that follow it, except
    ``timed`` and ``progress``, apply only to the latter, and ``timed`` only to the former.
    """
    if run.task == "molecules":
        return evaluate_molecules(
            run,
            data=data,
            split=split,
            limit=limit,
            samples=samples,
            with_fcd=with_fcd,
            targets=targets,
            moses=moses,
            oracles=oracles,
            constrained=constrained,
            guidance=guidance,
            best_of=best_of,
            progress=progress,
        )
    return evaluate_text(run, data=data, split=split, limit=limit, timed=timed, progress=progress)


def save_evaluation(run: Run, result: dict[str, Any]) -> Path:
    """Save an evaluation in the run directory and on the run's card."""
    path = run.path / EVALUATION_FILE
    write_json(path, result)
    write_run_card(run.path, run.model.config)
    return path
