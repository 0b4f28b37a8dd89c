"""Plots of circuit studies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.drawing.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_resources(table: dict[str, Any], path: Path) -> None:
    """Plot gates with and without shots, and multiply-adds, over d, as PNG or SVG."""
    save_figure(lambda: _resources(table), path)


def draw_noise_study(study: dict[str, Any], path: Path) -> None:
    """Plot mean change of the weights and loss, over shots and over noise, as PNG or SVG."""
    save_figure(lambda: _noise(study), path)


def _resources(table: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    rows = table["rows"]
    widths = [r["hidden_size"] for r in rows]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    lines = [
        ("gates, each circuit run once", "gates_per_sequence", "C0", "o"),
        (f"gates with shots for an error of {rows[0]['precision']}", "gates_with_shots", "C3", "s"),
        ("multiply-adds of classical attention", "classical_operations", "k", "^"),
    ]
    for label, key, colour, marker in lines:
        if rows[0][key]:
            values = [r[key] for r in rows]
            axes.loglog(widths, values, color=colour, marker=marker, label=label)
    axes.set_xscale("log", base=2)
    axes.set(
        xlabel="width d", ylabel="operations for one sequence",
        title=f"{table['mechanism']}: one block, {rows[0]['length']} tokens",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _noise(study: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    for column, (key, x, label) in enumerate(
        [("shots", "shots", "shots for each circuit"), ("noise", "two_qubit", "error of a CNOT")]
    ):
        rows = study[key]
        values = [row[x] for row in rows]
        weights = [row["mean_weight_difference"] for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        top.loglog(values, weights, "o-", label="measured")
        if key == "shots":
            line = [weights[-1] * math.sqrt(values[-1] / v) for v in values]
            top.loglog(values, line, "k--", label="1/sqrt(shots)")
        bottom.semilogx(values, [row["loss"] for row in rows], "o-", label="measured")
        bottom.axhline(rows[0]["exact_loss"], color="k", ls="--", label="closed form")
        top.set(title=f"{study['attention']}, {study['sequences']} sequences")
        bottom.set(xlabel=label)
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
            axis.legend()
    axes[0][0].set(ylabel="mean change of an attention weight")
    axes[1][0].set(ylabel="loss in nats per target")
    return figure
