"""An attention matrix as an ``<svg>`` for a page; hovering over a cell shows its number."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketformer.drawing.attention import Weights, draw_matrix, label_size, visible
from ketformer.drawing.figure import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_map(
    tokens: Sequence[str],
    matrix: Weights,
    label: str,
    *,
    top: float | None = None,
    signed: bool = False,
    wide: int = 440,
) -> str:
    """A heat map as an ``<svg>``: rows are positions, columns are what they take from.

    Args:
        tokens: T labels.
        matrix: ``[T, T]``: weights, or differences of weights.
        label: what is shown, as a title and for screen readers.
        top: the value with the strongest colour; by default the largest one.
        signed: the matrix holds differences, drawn blue if positive and red if negative.
            Weights are blue, or red where a position takes from a later one.
        wide: approximate width of the matrix, in pixels.
    """
    count = len(tokens)
    side = min(max(wide, 11 * count), 40 * count, 900) / 96  # inches; a page has 96 pixels each

    def figure() -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(side + 1.2, side + 0.8), layout="constrained")
        axes = figure.add_subplot()
        size = label_size(side, count)
        image = draw_matrix(axes, tokens, matrix, size, top=top, signed=signed)
        axes.set_title(label, fontsize=11, fontweight="bold", loc="left")
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30)
        bar.ax.tick_params(labelsize=8)
        if signed:
            bar.set_label("more (blue) or less (red)", fontsize=8)
        return figure

    def titles(drawn: Figure) -> str:
        box = drawn.axes[0].get_position()
        width, height = 72 * drawn.get_size_inches()
        left, upper = box.x0 * width, (1 - box.y1) * height
        across, down = box.width * width / count, box.height * height / count
        return "".join(
            f'<rect x="{left + j * across:.2f}" y="{upper + i * down:.2f}" width="{across:.2f}" '
            f'height="{down:.2f}" fill="transparent"><title>{html.escape(said)}</title></rect>'
            for i, j, said in _sayings(tokens, matrix, signed)
        )

    svg = inline_svg(figure, label, over=titles)
    return svg.replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)


def _sayings(
    tokens: Sequence[str], matrix: Weights, signed: bool
) -> Iterator[tuple[int, int, str]]:
    """Row, column and hover text of each cell that has a number."""
    names = [visible(token) for token in tokens]
    for i, j in np.ndindex(matrix.shape):
        value = float(matrix[i, j])
        if j <= i or value:
            number = f"{value:{'+' * signed}.4f}"
            yield i, j, f"{names[i]} at {i} takes from {names[j]} at {j}: {number}"
