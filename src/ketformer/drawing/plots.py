"""Plots of comparisons and of circuit studies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.drawing.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_WIDE = 6.3  # inches: the width of a page's text
_CAUSAL, _LEAKY, _REFERENCE = "#2f6fcf", "#c62828", "#7d8590"


@dataclass(frozen=True)
class Effect:
    """A row's difference to the reference, as a forest plot shows it.

    Attributes:
        name: name of the row.
        difference: the mean.
        low: lower bound of its 95 % interval; None for a single seed.
        high: upper bound.
        values: the difference of each seed.
        causal: false marks a row that sees the future.
    """

    name: str
    difference: float
    low: float | None
    high: float | None
    values: Sequence[float]
    causal: bool = True


def draw_forest(effects: Sequence[Effect], label: str, path: Path) -> None:
    """Draw differences to a reference as PNG, SVG or PDF: dot, interval, and a tick per seed.

    A row that sees the future has a hollow dot, or an arrow if it is far off the others.

    Args:
        effects: the rows, from the top.
        label: what the difference is of, with its unit and reference.
        path: the picture to write; its folder is created.
    """
    save_figure(lambda: _forest(effects, label), path)


def draw_curves(
    lines: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    styles: Mapping[str, Mapping[str, Any]],
    label: str,
    path: Path,
) -> None:
    """Draw curves over the training steps as PNG, SVG or PDF, a thin line for each seed.

    Args:
        lines: for each row, by name, the (step, value) points of each seed.
        styles: matplotlib's keywords for the lines of each row.
        label: what the curves show, with its unit.
        path: the picture to write; its folder is created.
    """
    save_figure(lambda: _curves(lines, styles, label), path)


def draw_resources(table: dict[str, Any], path: Path) -> None:
    """Plot gates with and without shots, and multiply-adds, over d, as PNG, SVG or PDF."""
    save_figure(lambda: _resources(table), path)


def draw_device_resources(table: dict[str, Any], path: Path) -> None:
    """Plot two-qubit gates before and after transpilation, and the fidelity, over d."""
    save_figure(lambda: _device_resources(table), path)


def draw_noise_study(study: dict[str, Any], path: Path) -> None:
    """Plot mean change of the weights and loss, over shots and over noise, as PNG, SVG or PDF.

    Bars show where one evaluation with that many shots lies with 95 %.
    """
    save_figure(lambda: _noise(study), path)


def draw_shot_search(search: dict[str, Any], path: Path) -> None:
    """Plot the loss over the shots that a search tried, as PNG, SVG or PDF, with its intervals."""
    save_figure(lambda: _within(search), path)


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


def _device_resources(table: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    gates, fidelity = figure.subplots(1, 2)
    for number, kind in enumerate(dict.fromkeys(row["circuit"] for row in table["rows"])):
        rows = [row for row in table["rows"] if row["circuit"] == kind]
        widths = [row["hidden_size"] for row in rows]
        colour = f"C{number}"
        before = [row["published_two_qubit_gates"] for row in rows]
        after = [row["two_qubit_gates"] for row in rows]
        gates.plot(widths, before, "o--", color=colour, label=f"{kind}: CNOTs of the circuit")
        gates.plot(widths, after, "s-", color=colour, label=f"{kind}: on {table['device']}")
        passed = [(w, r["fidelity"]) for w, r in zip(widths, rows, strict=True) if r["fidelity"]]
        if passed:
            fidelity.plot(*zip(*passed, strict=True), "s-", color=colour, label=kind)
    gates.set(ylabel="two-qubit gates", title=f"{table['mechanism']}: a circuit", ylim=(0, None))
    fidelity.set(ylabel="expected fidelity", title=table["device"], ylim=(0, 1))
    for axes in (gates, fidelity):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="width d")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
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
        losses = [row["loss"] for row in rows]
        top.errorbar(values, weights, _bars(rows, "mean_weight_difference"), **_MEASURED)
        top.set(xscale="log", yscale="log")
        if key == "shots":
            line = [weights[-1] * math.sqrt(values[-1] / v) for v in values]
            top.loglog(values, line, "k--", label="1/sqrt(shots)")
        bottom.errorbar(values, losses, _bars(rows, "loss"), **_MEASURED)
        bottom.set(xscale="log")
        bottom.axhline(rows[0]["exact_loss"], color="k", ls="--", label="closed form")
        top.set(title=f"{study['attention']}, {study['sequences']} sequences")
        bottom.set(xlabel=label)
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
            axis.legend()
    axes[0][0].set(ylabel="mean change of an attention weight")
    axes[1][0].set(ylabel="loss in nats per target")
    return figure


_MEASURED: dict[str, Any] = {"fmt": "o-", "capsize": 3, "label": "measured"}


def _bars(rows: Sequence[dict[str, Any]], key: str) -> list[list[float]] | None:
    """Lengths of the error bars below and above, if there are any."""
    if f"{key}_low" not in rows[0]:
        return None
    return [
        [row[key] - row[f"{key}_low"] for row in rows],
        [row[f"{key}_high"] - row[key] for row in rows],
    ]


def _within(search: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rows = search["tried"]
    values, losses = [row["shots"] for row in rows], [row["loss"] for row in rows]
    axes.errorbar(values, losses, _bars(rows, "loss"), **_MEASURED)
    exact, within = search["exact_loss"], search["within"]
    axes.axhline(exact, color="k", ls="--", label="closed form")
    axes.axhspan(exact - within, exact + within, color="k", alpha=0.1, label=f"within {within:g}")
    axes.axvline(
        search["shots"], color="C3", alpha=0.5, zorder=0, label=f"{search['shots']:,} shots"
    )
    axes.set(
        xscale="log", xlabel="shots for each circuit", ylabel="loss in nats per target",
        title=f"{search['attention']}, {search['sequences']} sequences",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _forest(effects: Sequence[Effect], label: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDE, 0.36 * len(effects) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    left, right = _limits([effect for effect in effects if effect.causal] or effects)
    axes.axvline(0, color=_REFERENCE, linewidth=1)
    for place, effect in enumerate(effects):
        _mark(axes, place, effect, (left, right))
    axes.set(xlim=(left, right), ylim=(len(effects) - 0.4, -0.6))
    axes.set_xlabel(label, parse_math=False)
    names, numbers = axes, axes.secondary_yaxis("right")
    said = [_numbers(effect) for effect in effects]
    for side, texts in ((names, [effect.name for effect in effects]), (numbers, said)):
        side.set_yticks(range(len(effects)), texts, parse_math=False)
        side.tick_params(axis="y", length=0)
    for side in (axes, numbers):
        side.spines[:].set_visible(False)
    axes.spines["bottom"].set_visible(True)
    axes.grid(alpha=0.3, axis="x", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


def _limits(effects: Sequence[Effect]) -> tuple[float, float]:
    """The ends of the axis: zero and all that is drawn, with a margin."""
    ends = [0.0]
    for effect in effects:
        bounds = [bound for bound in (effect.low, effect.high) if bound is not None]
        ends += [effect.difference, *bounds, *effect.values]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _mark(axes: Any, place: int, effect: Effect, limits: tuple[float, float]) -> None:
    colour = _CAUSAL if effect.causal else _LEAKY
    if not limits[0] <= effect.difference <= limits[1]:
        beyond = effect.difference > limits[1]
        axes.annotate(
            "→" if beyond else "←", (limits[beyond], place), color=colour,
            ha="right" if beyond else "left", va="center",
        )  # fmt: skip
        return
    if effect.low is not None:
        axes.plot([effect.low, effect.high], [place, place], color=colour, linewidth=1.8)
    if len(effect.values) > 1:
        ticks = [place + 0.22] * len(effect.values)
        axes.plot(effect.values, ticks, "|", color=colour, markersize=6, alpha=0.8)
    face = colour if effect.causal else "white"
    axes.plot(effect.difference, place, "o", color=colour, markerfacecolor=face, markersize=5.5)


def _numbers(effect: Effect) -> str:
    half = "" if effect.high is None else f" ± {effect.high - effect.difference:.3f}"
    return f"{effect.difference:+.3f}".replace("-", "−") + half


def _curves(
    lines: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    styles: Mapping[str, Mapping[str, Any]],
    label: str,
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDE, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, seeds in lines.items():
        thin = 1.5 if len(seeds) == 1 else 0.9
        for number, points in enumerate(seeds):
            (line,) = axes.plot(*zip(*points, strict=True), **styles[name], linewidth=thin)
            # A label that begins with an underscore would be left out of the legend.
            line.set_label("_" if number else name.lstrip("_"))
    axes.set(xlabel="training step", ylabel=label)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(loc="outside right upper", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
