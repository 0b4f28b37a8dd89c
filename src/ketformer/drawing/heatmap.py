"""A matrix of attention as an ``<svg>`` for the page, each cell with its number on hovering."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ketformer.drawing.attention import visible

Matrix = NDArray[np.floating]

_MORE, _LESS = "#1f62c8", "#d1382c"  # readable on light and dark; weights are drawn in the first
_STEPS = 24  # of the scale


def heat_map(
    tokens: Sequence[str],
    matrix: Matrix,
    label: str,
    *,
    top: float | None = None,
    signed: bool = False,
    wide: int = 440,
) -> str:
    """Rows are positions, columns what they take from; letters take the page's text colour.

    Args:
        tokens: T labels.
        matrix: ``[T, T]``: weights, or differences of them.
        label: what is shown, as a title and for those who do not see it.
        top: the value with the strongest colour; the largest one unless given.
        wide: the matrix, more or less, in pixels.
        signed: differences, more in blue and less in red. Weights are blue, and red where a
            position takes from a later one.
    """
    count = len(tokens)
    top = top or float(np.abs(matrix).max()) or 1.0
    cell = min(max(wide // count, 11), 40)
    size = min(0.7 * cell, 13)
    names = [visible(token) for token in tokens]
    longest = max(map(len, names))
    upright = longest * 0.62 * size <= cell  # labels below the matrix fit as they are
    margin = 10 + 0.62 * size * longest
    above, below, side = 24, 12 + (size if upright else 0.62 * size * longest), cell * count
    width, height = margin + side + 8, above + side + below + 36
    parts = [f'<text x="{margin:g}" y="15" font-size="13" font-weight="600">{_safe(label)}</text>']
    for i, name in enumerate(names):
        middle = above + (i + 0.5) * cell + size / 3
        parts.append(_word(margin - 5, middle, size, name, "end"))
        x, y = margin + (i + 0.5) * cell, above + side + 5
        if upright:
            parts.append(_word(x - 0.5, y + 0.8 * size, size, name, "middle"))
            continue
        turned = f'transform="rotate(-90 {x + size / 3:g} {y:g})"'
        parts.append(_word(x + size / 3, y, size, name, "end", turned))
    for i in range(count):
        for j in range(count):
            value = float(matrix[i, j])
            if j > i and not value:
                continue
            colour = _LESS if (value < 0 if signed else j > i) else _MORE
            says = f"{names[i]} at {i} takes from {names[j]} at {j}: {value:{'+' * signed}.4f}"
            x, y = margin + j * cell, above + i * cell
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{cell - 1}" height="{cell - 1}" '
                f'fill="{colour}" fill-opacity="{_strength(value, top, signed):.3f}">'
                f"<title>{_safe(says)}</title></rect>"
            )
    parts.append(_scale(margin, height - 26, top, signed))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_safe(label)}" '
        f'viewBox="0 0 {width:g} {height:g}" style="width:100%;max-width:{width:g}px" '
        f'fill="currentColor">{"".join(parts)}</svg>'
    )


def _strength(value: float, top: float, signed: bool) -> float:
    """From 0.04, so that an empty cell is still one. Of weights the root: most are small."""
    share = min(abs(value) / top, 1.0)
    return 0.04 + 0.96 * (share if signed else share**0.5)


def _scale(x: float, y: float, top: float, signed: bool) -> str:
    low, width = (-top if signed else 0.0), 6
    parts = []
    for step in range(_STEPS):
        value = low + (top - low) * step / (_STEPS - 1)
        colour = _LESS if value < 0 else _MORE
        parts.append(
            f'<rect x="{x + step * width:g}" y="{y:g}" width="{width}" height="8" fill="{colour}" '
            f'fill-opacity="{_strength(value, top, signed):.3f}"/>'
        )
    end = x + _STEPS * width
    words = [(x, f"{low:.2g}", "start"), (end, f"{top:.2g}", "end")]
    if signed:
        words.append(((x + end) / 2, "0", "middle"))
    parts += [_word(at, y + 21, 11, text, anchor) for at, text, anchor in words]
    return "".join(parts)


def _word(x: float, y: float, size: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
        f'font-family="ui-monospace, monospace" {more}>{_safe(text)}</text>'
    )


def _safe(text: str) -> str:
    return html.escape(text)
