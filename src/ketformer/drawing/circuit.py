"""Drawings of circuits: a picture for files and pages, and text drawn by Qiskit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.drawing.figure import inline_svg, save_figure
from ketformer.errors import KetformerError
from ketformer.quantum.circuit import Angle, Circuit, Gate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points: between wires, height of a gate, between columns, around the picture.
_WIRE, _BOX, _GAP, _MARGIN = 28.0, 23.0, 7.0, 6.0
_GLYPH = 5.6  # width of a letter, rounded up
_COLOURS = {"RX": "#9a3fb5", "RY": "#1f62c8", "RZ": "#0b7a75"}
_PLAIN = "#56606b"


@dataclass(frozen=True)
class _Item:
    """An entry of a column: a gate, or a box over several wires."""

    name: str
    below: str
    target: int
    controls: tuple[int, ...] = ()
    height: int = 1  # wires

    @property
    def wires(self) -> range:
        """All wires that it touches or crosses."""
        ends = (self.target, self.target + self.height - 1, *self.controls)
        return range(min(ends), max(ends) + 1)

    @property
    def is_cnot(self) -> bool:
        return self.name == "X" and bool(self.controls)

    @property
    def width(self) -> float:
        if self.is_cnot:
            return 18
        return max(26, _GLYPH * max(len(self.name) + 1, len(self.below)) + 6)


@dataclass(frozen=True)
class Layout:
    """Positions of all elements, in points from the upper left corner.

    Attributes:
        width: width of the picture.
        height: height of the picture.
        n_qubits: number of wires in each line.
        lines: for each line of the picture, y of its first wire.
        start: x where the wires begin.
        placed: each item with x of its middle and y of its first wire.
    """

    width: float
    height: float
    n_qubits: int
    lines: tuple[float, ...]
    start: float
    placed: tuple[tuple[_Item, float, float], ...]

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Left, top, width and height of each gate except CNOTs."""
        return [
            (x - i.width / 2, y - _BOX / 2, i.width, _BOX + (i.height - 1) * _WIRE)
            for i, x, y in self.placed
            if not i.is_cnot
        ]


def layout(
    circuit: Circuit,
    *,
    measured: Iterable[int] = (),
    prepared: int = 0,
    width: int = 640,
    limit: int | None = None,
) -> Layout:
    """Place every gate as far to the left as the gates before it allow.

    Args:
        circuit: any circuit; free angles are shown by name.
        measured: qubits with a meter at the end.
        prepared: number of leading gates drawn as one box that prepares a token's state.
        width: width in points; longer circuits continue on the next line.
        limit: maximum number of gates to draw.
    """
    gates = circuit.gates[prepared:][:limit]
    items = [_Item("|x⟩", f"{prepared} gates", 0, height=circuit.n_qubits)] if prepared else []
    items += [_item(gate) for gate in gates]
    if left := len(circuit.gates) - prepared - len(gates):
        items.append(_Item("…", f"{left} more", 0, height=circuit.n_qubits))
    columns = _packed(items, circuit.n_qubits)
    if meters := sorted(set(measured)):
        columns.append([_Item("meter", "", qubit) for qubit in meters])
    return _placed(columns, circuit.n_qubits, width)


def circuit_figure(drawn: Layout) -> Figure:
    """The picture as a figure; lines and letters outside the gates use the text colour."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawn.width / 72, drawn.height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawn.width), ylim=(drawn.height, 0))
    axes.axis("off")
    ink = matplotlib.rcParams["text.color"]
    for top in drawn.lines:
        heights = [top + qubit * _WIRE for qubit in range(drawn.n_qubits)]
        axes.hlines(heights, drawn.start - 6, drawn.width - _MARGIN, ink, lw=0.8, alpha=0.55)
        for qubit, y in enumerate(heights):
            _write(axes, _MARGIN - 2, y, f"q{qubit}", 10, ha="left")
    for item, x, y in drawn.placed:
        _draw_item(axes, item, x, y, ink)
    return figure


def circuit_svg(drawn: Layout, label: str = "") -> str:
    """The picture as an ``<svg>`` element for a page, light or dark.

    Args:
        drawn: the result of :func:`layout`.
        label: description of the drawing, for screen readers.
    """
    svg = inline_svg(lambda: circuit_figure(drawn), label)
    return svg.replace('pt"', 'px"', 2)  # width and height: a web page has less room than paper


def draw_picture(circuit: Circuit, path: str | Path, width: int = 1000) -> Path:
    """Draw the whole circuit, qubit 0 on top, as PNG, SVG or PDF, and return the path.

    Args:
        circuit: any circuit; free angles are shown by name.
        path: the picture to write, of the kind that its suffix says; its folder is created.
        width: width in points; longer circuits continue on the next line.

    Raises:
        KetformerError: another suffix, or the circuit is too long for a PNG.
    """
    return save_figure(lambda: circuit_figure(layout(circuit, width=width)), path)


def draw_text(circuit: Circuit, width: int = 100) -> str:
    """The circuit as text, drawn by Qiskit, with qubit 0 on top.

    Args:
        circuit: any circuit; free angles are shown by name.
        width: characters per line; longer circuits continue below. A gate whose label is
            longer than that is not broken.

    Returns:
        The lines, without the last line break.

    Raises:
        KetformerError: Qiskit is missing, or the width is not positive.
    """
    from ketformer.quantum.backends.qiskit import to_qiskit

    if width < 1:
        raise KetformerError(f"a drawing must be at least one character wide, got {width}")
    # Set explicitly, because the user's Qiskit settings could differ.
    look: dict[str, Any] = {"idle_wires": True, "reverse_bits": False, "initial_state": False}
    drawing = to_qiskit(circuit).draw("text", fold=width, **look)
    return "\n".join(line.rstrip() for line in str(drawing).splitlines())


def _item(gate: Gate) -> _Item:
    below = "" if gate.angle is None else _angle(gate.angle)
    return _Item(gate.name, below, gate.target, gate.controls)


def _angle(angle: Angle) -> str:
    if not isinstance(angle.value, str):
        return f"{angle.value * angle.factor:.3g}"
    sign = "−" if angle.factor < 0 else ""
    size = abs(angle.factor)
    if size == 1:
        return f"{sign}{angle.value}"
    if (1 / size).is_integer():
        return f"{sign}{angle.value}/{1 / size:.0f}"
    return f"{sign}{size:.3g}·{angle.value}"


def _packed(items: list[_Item], n_qubits: int) -> list[list[_Item]]:
    """Columns of items, each as far to the left as earlier items on its wires allow."""
    columns: list[list[_Item]] = []
    free = [0] * n_qubits
    for item in items:
        column = max(free[wire] for wire in item.wires)
        if column == len(columns):
            columns.append([])
        columns[column].append(item)
        for wire in item.wires:
            free[wire] = column + 1
    return columns


def _placed(columns: list[list[_Item]], n_qubits: int, width: float) -> Layout:
    start = 12 + _GLYPH * (2 + len(str(n_qubits - 1)))
    high = n_qubits * _WIRE + 2 * _MARGIN
    placed: list[tuple[_Item, float, float]] = []
    lines = [_MARGIN + _WIRE / 2]
    x, right = start, start + 40
    for column in columns:
        wide = max(item.width for item in column)
        if x > start and x + wide > width:
            lines.append(lines[-1] + high)
            x, right = start, width
        placed += [(i, x + wide / 2, lines[-1] + i.target * _WIRE) for i in column]
        x += wide + _GAP
        right = max(right, x)
    return Layout(right + _MARGIN, len(lines) * high, n_qubits, tuple(lines), start, tuple(placed))


def _draw_item(axes: Any, item: _Item, x: float, y: float, ink: str) -> None:
    from matplotlib.patches import Arc, Circle, FancyBboxPatch

    for control in item.controls:
        other = y + (control - item.target) * _WIRE
        axes.plot([x, x], [other, y], color=ink, lw=1, zorder=2)
        axes.add_patch(Circle((x, other), 3.5, color=ink, zorder=3))
    if item.is_cnot:
        axes.add_patch(Circle((x, y), 7, fill=False, ec=ink, zorder=3))
        axes.plot([x - 7, x + 7], [y, y], color=ink, lw=1, zorder=3)
        axes.plot([x, x], [y - 7, y + 7], color=ink, lw=1, zorder=3)
        return
    high = _BOX + (item.height - 1) * _WIRE
    corner, colour = (x - item.width / 2, y - _BOX / 2), _COLOURS.get(item.name, _PLAIN)
    style = "round,pad=0,rounding_size=4"
    axes.add_patch(
        FancyBboxPatch(corner, item.width, high, boxstyle=style, fc=colour, ec="none", zorder=4)
    )
    middle = y - _BOX / 2 + high / 2
    if item.name == "meter":
        axes.add_patch(Arc((x, y + 5), 14, 14, theta1=180, theta2=360, ec="white", zorder=5))
        axes.plot([x, x + 5], [y + 5, y - 6], color="white", lw=1, zorder=5)
    elif item.below:
        _write(axes, x, middle - 4.5, item.name, 10, color="white")
        _write(axes, x, middle + 5.5, item.below, 8, color="white")
    else:
        _write(axes, x, middle, item.name, 11, color="white")


def _write(axes: Any, x: float, y: float, words: str, size: float, **more: Any) -> None:
    look = {"ha": "center", "va": "center_baseline", "family": "monospace", "parse_math": False}
    axes.text(x, y, words, fontsize=size, zorder=6, **{**look, **more})
