"""Matplotlib figures as files, and as ``<svg>`` elements for a page, light or dark."""

from __future__ import annotations

import html
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.errors import KetformerError
from ketformer.utils.files import picture_kind, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Placeholder for the page's text colour, replaced in the finished SVG.
_INK = "#010203"
#: Placeholder for the page's background colour.
PAPER = "#040506"
_ONE_AT_A_TIME = threading.Lock()
#: The kinds of picture that matplotlib writes for us.
PLOTS = ("pdf", "png", "svg")
# Nothing that differs between two equal figures.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_DPI = 144  # for PNG
_HIGHEST = 30_000  # pixels of a PNG; viewers refuse more, and memory runs out
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


def save_figure(make: Callable[[], Figure], path: str | Path) -> Path:
    """Write a figure atomically as PNG, SVG or PDF by the suffix, and return the path.

    Text in an SVG or PDF stays text, and equal figures give equal files.

    Args:
        make: creates the figure.
        path: the picture to write; its folder is created.

    Raises:
        KetformerError: another suffix, or a PNG that no viewer would open.
    """
    path = Path(path)
    kind = picture_kind(path, PLOTS)
    look: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "ketformer", "pdf.fonttype": 42}
    with _settings(look):
        figure = make()
        height = figure.get_size_inches()[1] * _DPI
        if kind == "png" and height > _HIGHEST:
            raise KetformerError(
                f"{path} would be {height:,.0f} pixels high; use a name that ends in .svg"
            )
        metadata = _METADATA[kind]
        with replacing(path) as part:
            figure.savefig(part, format=kind, dpi=_DPI, metadata=metadata)
    return path


def inline_svg(
    make: Callable[[], Figure], label: str, over: Callable[[Figure], str] = lambda _: ""
) -> str:
    """The figure as an ``<svg>`` element; text stays text, lines take the page's text colour.

    Args:
        make: creates the figure; called with the matplotlib settings for pages.
        label: description of the figure, for screen readers.
        over: returns elements to lay over the figure, in points from its upper left corner;
            called with the drawn figure.
    """
    # The salt gives clip paths of different figures on one page different names.
    with _settings({**_LOOK, "svg.hashsalt": label}):
        buffer, figure = io.StringIO(), make()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue().replace("</svg>", f"{over(figure)}</svg>")
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = svg.replace(PAPER, "var(--paper, Canvas)").rstrip()
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    return named_svg(svg, label)


def named_svg(svg: str, label: str) -> str:
    """The ``<svg>`` element with a label for screen readers."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


@contextmanager
def _settings(look: dict[Any, Any]) -> Iterator[None]:
    """Set matplotlib's settings, which are global to the process, so threads take turns.

    Warnings about glyphs missing from matplotlib's font are hidden; a browser has them.
    """
    import matplotlib

    with _ONE_AT_A_TIME, matplotlib.rc_context(look), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
