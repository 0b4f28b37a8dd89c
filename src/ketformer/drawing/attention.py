"""Pictures of attention weights over tokens of any kind."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ketformer.drawing.figure import save_figure
from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weights = NDArray[np.floating]

#: Colours of weight on the past and on the future, readable on light and dark pages.
PAST, FUTURE = (0.15, 0.45, 0.92), (0.90, 0.20, 0.24)
_SMALLEST_LABEL = 4.5  # points; if labels would be smaller, only every second, third … is drawn


@dataclass(frozen=True)
class AttentionMap:
    """The attention weights of one layer over one text or molecule.

    Attributes:
        text: the text that was read, a SMILES for instance.
        tokens: the T input tokens.
        weights: ``[H, T, T]``; row i says how much position i takes from each position j.
    """

    text: str
    tokens: list[str]
    weights: Weights

    def __post_init__(self) -> None:
        length = len(self.tokens)
        if self.weights.ndim != 3 or self.weights.shape[1:] != (length, length):
            raise KetformerError(
                f"attention weights: expected shape (heads, {length}, {length}), "
                f"got {self.weights.shape}"
            )

    def of_head(self, head: int | None) -> Weights:
        """The weights ``[T, T]`` of a head, or the mean over all heads if ``head`` is None.

        Raises:
            KetformerError: there is no such head.
        """
        if head is None:
            return np.asarray(self.weights.mean(axis=0))
        if not 0 <= head < len(self.weights):
            raise KetformerError(f"no head {head}: the heads are 0 to {len(self.weights) - 1}")
        return np.asarray(self.weights[head])

    def name_head(self, head: int | None) -> str:
        """``"head 2"`` for a head, ``"mean over 4 heads"`` for None."""
        if head is not None:
            return f"head {head}"
        return f"mean over {len(self.weights)} heads" if len(self.weights) > 1 else "one head"


def share_of_the_future(weights: Weights) -> float:
    """The share of all weights ``[..., T, T]`` on later tokens; 0 if all weights are 0."""
    return float(np.triu(weights, 1).sum() / (weights.sum() or 1))


def token_matrix(path: str | Path, attention: AttentionMap, head: int | None = None) -> Path:
    """Draw how much each token takes from every other token, and return the path.

    Args:
        path: the PNG or SVG to write; its folder is created.
        attention: T tokens and their weights; those on later tokens are drawn in red.
        head: index of a head; None for the mean over the heads.

    Raises:
        KetformerError: neither PNG nor SVG, or no such head.
    """
    return save_figure(lambda: _matrix_figure(attention, head), path)


def _matrix_figure(attention: AttentionMap, head: int | None) -> Figure:
    from matplotlib.figure import Figure

    count, matrix = len(attention.tokens), attention.of_head(head)
    side = min(max(0.24 * count, 3.2), 20.0)  # inches
    figure = Figure(figsize=(side + 2.2, side + 1.6), layout="constrained")
    axes = figure.add_subplot()
    image = draw_matrix(axes, attention.tokens, matrix, label_size(side, count))
    axes.set_xlabel("taken from")
    axes.set_ylabel("position")
    lines = textwrap.wrap(visible(attention.text), int(side * 8), break_on_hyphens=False)
    # Two "$", which are bonds in a SMILES, would enclose a formula.
    title = "\n".join([*lines, attention.name_head(head)])
    axes.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="attention weight")
    return figure


def attention_figure(
    tokens: Sequence[str], weights: Weights, *, layers: int = 3, heads: int = 4
) -> Figure:
    """Small multiples: a row per layer and a column per head, or one row if there is one head.

    Args:
        tokens: T labels.
        weights: ``[L, H, T, T]``; those on later tokens are drawn in red.
        layers: draw at most this many layers, the first ones.
        heads: draw at most this many heads, the first ones.

    Raises:
        KetformerError: weights of another shape.
    """
    from matplotlib.figure import Figure

    count = len(tokens)
    if weights.ndim != 4 or weights.shape[2:] != (count, count):
        raise KetformerError(
            f"attention weights: expected shape (layers, heads, {count}, {count}), "
            f"got {weights.shape}"
        )
    shown = weights[:layers, :heads]
    single = shown.shape[1] == 1
    rows, columns = (1, len(shown)) if single else shown.shape[:2]
    side = min(max((0.13 if columns > 1 else 0.2) * count, 1.7), 5.0)
    size = min(8.0, label_size(side, count))
    figure = Figure(
        figsize=(columns * (side + 0.3) + 0.9, rows * (side + 0.45) + 0.3), layout="constrained"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    top = float(shown.max()) or 1.0
    for place, axes in enumerate(grid.flat):
        row, column = divmod(place, columns)
        layer, head = (column, 0) if single else (row, column)
        left, bottom = column == 0, row == rows - 1
        image = draw_matrix(
            axes, tokens, shown[layer, head], size, top=top, left=left, bottom=bottom
        )
        name = f"layer {layer}" if weights.shape[1] == 1 else f"layer {layer}, head {head}"
        axes.set_title(name, fontsize=9)
    figure.colorbar(image, ax=grid, shrink=0.8, aspect=30, label="attention weight")
    return figure


def visible(text: str) -> str:
    """The text on one line, with visible symbols for spaces, tabs and line breaks."""
    return text.translate({ord(" "): "␣", ord("\n"): "↵", ord("\t"): "⇥", ord("\r"): "␍"})


def label_size(side: float, count: int) -> float:
    """Font size in points of labels for ``count`` rows over ``side`` inches."""
    return min(9.0, 72 * side / count * 0.75)


def draw_matrix(
    axes: Any,
    tokens: Sequence[str],
    matrix: Weights,
    size: float,
    *,
    top: float | None = None,
    signed: bool = False,
    left: bool = True,
    bottom: bool = True,
) -> Any:
    """Draw one matrix and return the image of weights on the past, or of positive differences.

    Args:
        axes: matplotlib axes.
        tokens: T labels.
        matrix: ``[T, T]``: weights, in red where a position takes from a later one; or
            differences of weights.
        size: size of the labels, in points.
        top: the value with the strongest colour; by default the largest one.
        signed: the matrix holds differences, drawn blue if positive and red if negative.
        left: label the rows.
        bottom: label the columns.
    """
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    future = np.triu(np.ones_like(matrix, dtype=bool), k=1)
    second = matrix < 0 if signed else future
    empty = future & (matrix == 0)
    # The first position can only attend to itself, so the scale of weights always ends near 1.
    # A square root keeps the others visible.
    norm = PowerNorm(1.0 if signed else 0.5, vmin=0.0, vmax=top or np.abs(matrix).max() or 1.0)
    images = []
    for name, colour, hidden in (("more", PAST, second | empty), ("less", FUTURE, ~second | empty)):
        ramp = LinearSegmentedColormap.from_list(name, [(*colour, 0.04), (*colour, 1.0)])
        cells = np.ma.array(np.abs(matrix), mask=hidden)
        images.append(axes.imshow(cells, cmap=ramp, norm=norm, interpolation="none"))
    places = range(0, len(tokens), max(1, int(np.ceil(_SMALLEST_LABEL / size))))
    labels: dict[str, Any] = {
        "labels": [visible(tokens[i]) for i in places],
        "fontsize": max(size, _SMALLEST_LABEL),
        "family": "monospace",
        "parse_math": False,
    }
    # Ticks take most of the drawing time, so there are none without labels.
    upright = all(len(visible(token)) == 1 for token in tokens)
    turned = 0 if upright else 90
    axes.set_xticks(places, rotation=turned, **labels) if bottom else axes.set_xticks([])
    axes.set_yticks(places, **labels) if left else axes.set_yticks([])
    axes.tick_params(length=2, width=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.5)
    return images[0]
