"""Plots of results for a paper: forest plots and learning curves, each as PDF and SVG."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ketformer.comparison import paired
from ketformer.comparison.variants import as_file_name
from ketformer.drawing.plots import Effect, draw_curves, draw_forest
from ketformer.report.figures import styles_of
from ketformer.report.study import LOSSES, Study, checked
from ketformer.tasks.metric import Metric, metrics_of

_KINDS = ("pdf", "svg")
#: The label under a leaderboard's picture.
TWINS_LABEL = "loss, prefix only (nats), difference to the best twin, lower is better"
_DIRECTIONS = {"lower": ", lower is better", "higher": ", higher is better", None: ""}


def plots_of_result(result: dict[str, Any], source: Path, folder: Path) -> list[Path]:
    """Draw the plots of a fresh result; see :func:`write_plots`.

    Args:
        result: a result of :func:`ketformer.comparison.run_variants`.
        source: the folder of its runs.
        folder: where the plots go.
    """
    return write_plots([Study(checked(result, source), source)], folder)


def write_plots(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Draw forest plots and learning curves of each study, as PDF and SVG.

    A forest plot shows each row's difference to the reference, seed by seed, in a metric that a
    leak cannot improve. Curves need the run directories.

    Args:
        studies: what to draw.
        folder: where the plots go; files of the same name are replaced.

    Returns:
        The files, also none: then a warning says so.
    """
    written = []
    for study in studies:
        first = f"{as_file_name(study.name or study.task)}-" if len(studies) > 1 else ""
        for name, draw in _plots(study):
            for kind in _KINDS:
                path = folder / f"{first}{name}.{kind}"
                draw(path)
                written.append(path)
    if not written:
        warnings.warn(
            "there is nothing to plot: forest plots need two rows, curves the run directories",
            stacklevel=2,
        )
    return written


def plots_of_leaderboard(board: dict[str, Any], folder: Path) -> list[Path]:
    """Draw each mechanism's difference to its best twin, as PDF and SVG for each task.

    Args:
        board: a result of :func:`ketformer.comparison.leaderboard`.
        folder: where the plots go; files of the same name are replaced.
    """
    written = []
    for task, its in board["tasks"].items():
        if effects := effects_of_twins(its["rows"]):
            for kind in _KINDS:
                written.append(folder / f"leaderboard-{task}.{kind}")
                draw_forest(effects, TWINS_LABEL, written[-1])
    return written


def effects_of_twins(rows: Sequence[dict[str, Any]]) -> list[Effect]:
    """The differences of a leaderboard's mechanisms to their best twins, in its order."""
    return [
        Effect(row["name"], test["difference"], test["low"], test["high"], test["values"])
        for row in rows
        if (test := row.get("difference"))
    ]


def effects_of(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, list[Effect]]:
    """The differences of rows to their reference in a metric, by the reference's name.

    The reference is the first row; in a result of several parts, the first of each.
    """
    found: dict[str, list[Effect]] = {}
    reference = rows[0]
    for row in rows[1:]:
        if "paired" in row and row["paired"] is None:
            reference = row
            continue
        values, base = row[metric]["values"], reference[metric]["values"]
        if not values or len(values) != len(base):
            continue
        test = paired(values, base)
        if test["difference"] is not None:
            found.setdefault(reference["name"], []).append(
                Effect(
                    row["name"],
                    test["difference"],
                    test["low"],
                    test["high"],
                    [a - b for a, b in zip(values, base, strict=True)],
                    row["causal"],
                )
            )
    return found


def forest_label(metric: Metric, reference: str) -> str:
    """The label under a forest plot."""
    return f"{metric.axis}, difference to {reference}{_DIRECTIONS[metric.better]}"


def _plots(study: Study) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """The name of each plot, and the function that draws it."""
    for metric in metrics_of(study.task):
        if not metric.axis:
            continue
        for number, (reference, effects) in enumerate(effects_of(study.rows, metric.name).items()):
            apart = f"-to-{as_file_name(reference)}" if number else ""
            label = forest_label(metric, reference)
            yield f"forest-{metric.name}{apart}", partial(draw_forest, effects, label)
    for key, words in LOSSES.items():
        if lines := study.losses(key):
            yield f"curves-{key}", partial(draw_curves, lines, styles_of(study.rows), words)
