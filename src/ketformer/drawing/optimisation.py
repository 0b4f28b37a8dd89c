"""The curve of an optimisation: how the best scores grow with the calls of the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ketformer.drawing.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = {"top_1": "the best", "top_10": "mean of the best 10", "top_100": "mean of the best 100"}
_COLOURS = ("#14925f", "#2f6fcf", "#8a5cd6")
_SAMPLED = "#7d8590"


def draw_optimisation(
    curve: Sequence[Mapping[str, float]], trace: Sequence[Mapping[str, float]], path: Path
) -> None:
    """Draw the curve as PNG, SVG or PDF; arguments are those of :func:`optimisation_figure`."""
    save_figure(lambda: optimisation_figure(curve, trace), path)


def optimisation_figure(
    curve: Sequence[Mapping[str, float]], trace: Sequence[Mapping[str, float]]
) -> Figure:
    """Scores over the calls of the oracle.

    Args:
        curve: rows with ``calls`` and the means ``top_1``, ``top_10`` and ``top_100``.
        trace: rows with ``calls`` and ``score``, the mean of what was sampled in a step.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.3, 3.4), layout="constrained")
    axes = figure.add_subplot()
    sampled = [row["calls"] for row in trace], [row["score"] for row in trace]
    axes.plot(*sampled, color=_SAMPLED, linewidth=0.7, alpha=0.8, label="mean reward of a step")
    calls = [row["calls"] for row in curve]
    for (key, name), colour in zip(_LINES.items(), _COLOURS, strict=True):
        marker = "o" if len(calls) == 1 else None  # a line through one point is invisible
        values = [row[key] for row in curve]
        axes.plot(calls, values, color=colour, linewidth=1.6, marker=marker, label=name)
    axes.set(xlabel="molecules the oracle was asked about", ylabel="score", ylim=(0, 1.03))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
