"""Figures of matplotlib as ``<svg>`` elements for a page, light or dark."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Stands for the page's own text colour until the figure is an SVG.
_INK = "#010203"
#: Stands for its paper.
PAPER = "#040506"
_LOOK: dict[Any, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
    "axes.titlesize": 10,
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may hold dollar signs
}


def inline_svg(make: Callable[[], Figure], label: str) -> str:
    """The figure as an ``<svg>`` element: texts are texts, lines take the page's text colour.

    Args:
        make: makes the figure; it is called with matplotlib's settings for such pages.
        label: what the figure shows, for those who do not see it.
    """
    # The salt keeps the names of clip paths of different figures on one page apart.
    with matplotlib.rc_context({**_LOOK, "svg.hashsalt": label}), _without_warnings():
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        make().savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = svg.replace(PAPER, "var(--paper, Canvas)").rstrip()
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    return named_svg(svg, label)


def named_svg(svg: str, label: str) -> str:
    """An ``<svg>`` element with a name for those who do not see it."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """A browser has the glyphs that matplotlib's own font lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
