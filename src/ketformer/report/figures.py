"""The plots of a page: narrow enough for a phone, in colours for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ketformer.drawing.figure import PAPER, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
Style = dict[str, Any]
Points = Sequence[tuple[float, float]]

# Each has a contrast of at least 3 with white and with the dark page.
_HONEST = ("#2f7de1", "#14925f", "#b07a12", "#8a5cd6", "#0f8fa5", "#7a8a1c", "#7d8590")
_LEAKY = ("#e5484d", "#d6409f", "#e0702a")
_WIDE = 5.2  # inches: as wide as a phone's page
_LONGEST = 28  # characters of a name


def styles_of(rows: Sequence[Row]) -> dict[str, Style]:
    """A line style for each row: a warm colour and dashes if it sees the future."""
    honest, leaky = cycle(_HONEST), cycle(_LEAKY)
    return {
        row["name"]: {"color": next(honest), "linestyle": "-"}
        if row["causal"]
        else {"color": next(leaky), "linestyle": "--"}
        for row in rows
    }


def short(name: str) -> str:
    """A name shortened to fit next to an axis."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def curves(
    lines: Mapping[str, Sequence[Points]], styles: Mapping[str, Style], ylabel: str, label: str
) -> str:
    """Losses over the training steps, a thin line for each seed."""

    def make() -> Figure:
        figure, axes = bare_axes(3.2)
        for name, seeds in lines.items():
            thin = 1.5 if len(seeds) == 1 else 0.9
            for points in seeds:
                axes.plot(*zip(*points, strict=True), **styles[name], linewidth=thin)
        axes.set_xlabel("training step")
        axes.set_ylabel(ylabel)
        return figure

    return inline_svg(make, label)


def positions(
    lines: Mapping[str, tuple[Sequence[Any], Sequence[Any]]],
    styles: Mapping[str, Style],
    label: str,
) -> str:
    """Loss by position; dots, the loss with the prefix alone, lie on the line if nothing leaks."""

    def make() -> Figure:
        figure, axes = bare_axes(3.2)
        for name, (forced, prefix) in lines.items():
            places = range(1, len(forced) + 1)
            axes.plot(places, _gaps(forced), **styles[name], linewidth=1.3)
            axes.plot(
                range(1, len(prefix) + 1),
                _gaps(prefix),
                "o",
                markersize=3,
                color=styles[name]["color"],
            )
        _label_positions(axes)
        return figure

    return inline_svg(make, label)


def leak(
    name: str,
    forced: Sequence[Any],
    prefix: Sequence[Any],
    honest: tuple[str, Sequence[Any]] | None,
    style: Style,
    label: str,
) -> str:
    """The gap between what a leaky model seems to know and what it knows, shaded."""

    def make() -> Figure:
        figure, axes = bare_axes(3.2)
        length = min(len(forced), len(prefix))
        places = np.arange(1, length + 1)
        low, high = _gaps(forced)[:length], _gaps(prefix)[:length]
        colour = style["color"]
        axes.plot(places, high, color=colour, linewidth=1.6, label="prefix alone")
        axes.plot(
            places, low, color=colour, linewidth=1.6, linestyle="--", label="with the future too"
        )
        axes.fill_between(places, low, high, color=colour, alpha=0.16, linewidth=0)
        if honest:
            axes.plot(
                range(1, len(honest[1]) + 1),
                _gaps(honest[1]),
                color="#7d8590",
                linewidth=1.2,
                label=f"{short(honest[0])}, which sees no future",
            )
        gap = float(np.nanmean(high - low))
        axes.annotate(
            f"the leak: {gap:.2f} nats on average",
            (0.5, 0.55),
            xycoords="axes fraction",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            bbox={"boxstyle": "round", "facecolor": PAPER, "linewidth": 0, "alpha": 0.85},
        )
        axes.set_ylim(bottom=0)
        _label_positions(axes)
        axes.set_title(short(name))
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        return figure

    return inline_svg(make, label)


def forest(rows: Sequence[Row], metric: str, styles: Mapping[str, Style], title: str) -> str:
    """Mean and interval of each row; rows that see the future are hollow and may be off scale."""
    shown = [row for row in rows if row[metric]["mean"] is not None]

    def make() -> Figure:
        figure, axes = bare_axes(0.55 + 0.3 * len(shown))
        left, right = _range([row for row in shown if row["causal"]] or shown, metric)
        if not all(row["causal"] for row in shown):  # room for arrows
            right += 0.1 * (right - left)
        reference = next((row for row in shown if row["causal"]), None)
        if reference:
            axes.axvline(
                reference[metric]["mean"], color="#7d8590", linewidth=0.8, linestyle=(0, (4, 3))
            )
        for place, row in enumerate(shown):
            _mark(axes, place, row, metric, styles[row["name"]]["color"], (left, right))
        axes.set_xlim(left, right)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [short(row["name"]) for row in shown])
        axes.set_xlabel(title)
        return figure

    return inline_svg(make, f"{title}: mean and interval of each mechanism")


def bars(rows: Sequence[Row], styles: Mapping[str, Style], label: str) -> str:
    """Inference time of each row, as a ratio to the first."""

    def make() -> Figure:
        figure, axes = bare_axes(0.55 + 0.3 * len(rows))
        ratios = [row["relative_inference_time"] for row in rows]
        colours = [styles[row["name"]]["color"] for row in rows]
        axes.barh(range(len(rows)), ratios, color=colours, height=0.66)
        for place, row in enumerate(rows):
            took = row.get("inference_ms")
            said = f"{ratios[place]:.2f}×" + ("" if took is None else f" ({took:.3g} ms)")
            axes.annotate(
                said,
                (ratios[place], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axes.set_xlim(0, 1.45 * max(ratios))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [short(row["name"]) for row in rows])
        axes.set_xlabel(f"time of a forward pass, {short(rows[0]['name'])} = 1")
        return figure

    return inline_svg(make, label)


def scatter(
    title: str, requested: Sequence[float], reached: Sequence[float], style: Style, label: str
) -> str:
    """Requested against reached values, with the line where both are equal."""

    def make() -> Figure:
        figure, axes = bare_axes(2.5, width=2.6)
        ends = min(requested), max(requested)
        axes.plot(ends, ends, color="#7d8590", linewidth=1)
        axes.plot(
            requested,
            reached,
            "o",
            markersize=3.2,
            alpha=0.35,
            markeredgewidth=0,
            color=style["color"],
        )
        axes.set_title(title)
        axes.set_xlabel("requested")
        axes.set_ylabel("reached")
        return figure

    return inline_svg(make, label)


def bare_axes(height: float, width: float = _WIDE) -> tuple[Figure, Any]:
    """A figure of that size in inches and its axes, in the style of the page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label_positions(axes: Any) -> None:
    axes.set_xlabel("position in the window")
    axes.set_ylabel("loss (nats)")


def _gaps(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _range(rows: Sequence[Row], metric: str) -> tuple[float, float]:
    ends = [
        number
        for row in rows
        for number in (
            row[metric]["mean"],
            row[metric]["low"],
            row[metric]["high"],
            *row[metric]["values"],
        )
        if number is not None
    ]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.01 * abs(high) or 1.0
    return low - margin, high + margin


def _mark(
    axes: Any, place: int, row: Row, metric: str, colour: str, limits: tuple[float, float]
) -> None:
    mean, low, high = (row[metric][key] for key in ("mean", "low", "high"))
    if not limits[0] <= mean <= limits[1]:
        beyond = mean > limits[1]
        axes.annotate(
            f"{mean:.2f} ⟶" if beyond else f"⟵ {mean:.2f}",
            (limits[1] if beyond else limits[0], place),
            ha="right" if beyond else "left",
            va="center",
            color=colour,
            fontsize=8.5,
        )
        return
    if low is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    dots = [value for value in row[metric]["values"] if value is not None]
    if len(dots) > 1:
        axes.plot(dots, [place + 0.24] * len(dots), "|", color=colour, markersize=4, alpha=0.7)
    filled = {} if row["causal"] else {"markerfacecolor": "none"}
    axes.plot([mean], [place], "o", color=colour, markersize=5.5, **filled)
