"""Draw the package's rooms (its folders and root files) by layer, from the imports themselves."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src/ketformer"
PICTURE = ROOT / "docs/pictures/architecture.svg"

_WIDE, _HIGH = 1.55, 0.42  # a room's box in drawing units; floors are 1 apart
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "architecture",
    "font.family": "sans-serif",
    "font.size": 10,
}


def rooms() -> dict[str, set[str]]:
    """Map each room, a folder or file at the package root, to the rooms it imports from."""
    graph: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":  # the package itself only re-exports
            continue
        found = graph.setdefault(room, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            parts = (name.split(".") for name in names)
            found |= {part[1] for part in parts if part[0] == "ketformer" and len(part) > 1}
        found.discard(room)
    return graph


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: one above the highest floor it imports from.

    Raises:
        graphlib.CycleError: rooms import each other in a cycle.
    """
    height: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        height[room] = 1 + max((height[below] for below in graph[room]), default=0)
    return height


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Drop the imports that a longer path implies, as the diagram would be unreadable."""
    reached: dict[str, set[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        reached[room] = graph[room].union(*(reached[below] for below in graph[room]))
    return {
        room: {below for below in under if not any(below in reached[o] for o in under - {below})}
        for room, under in graph.items()
    }


def draw(path: Path = PICTURE) -> None:
    """Draw the diagram and write it as SVG."""
    graph = rooms()
    height = floors(graph)
    top = max(height.values())
    on = {floor: sorted(r for r in graph if height[r] == floor) for floor in range(1, top + 1)}
    place = {
        room: ((i - (len(row) - 1) / 2) * (_WIDE + 0.45), floor)
        for floor, row in on.items()
        for i, room in enumerate(row)
    }
    wide = max(len(row) for row in on.values()) * (_WIDE + 0.45)
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(1.25 * (wide + 1.4), 0.75 * top), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-wide / 2 - 1.2, wide / 2 + 0.2), ylim=(0.4, top + 0.6))
        axes.set_axis_off()
        for room, under in sorted(direct(graph).items()):
            for below in sorted(under):
                (x, y), (x0, y0) = place[room], place[below]
                axes.annotate(
                    "",
                    (x0, y0 + _HIGH / 2),
                    (x, y - _HIGH / 2),
                    arrowprops={"arrowstyle": "-|>", "color": "#8a94a0", "linewidth": 0.9},
                )
        for room, (x, y) in place.items():
            corner = (x - _WIDE / 2, y - _HIGH / 2)
            box = matplotlib.patches.FancyBboxPatch(
                corner,
                _WIDE,
                _HIGH,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor="#eaf1fd",
                edgecolor="#2f6fd0",
                zorder=3,
            )
            axes.add_patch(box)
            axes.text(x, y, room, ha="center", va="center", color="#1b1f24", zorder=4)
        for floor in on:
            axes.text(-wide / 2 - 1.0, floor, str(floor), color="#59636e", va="center")
        figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw()
