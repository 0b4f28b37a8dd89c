"""A circuit as an ``<svg>`` element, drawn by itself: no package needed, light or dark."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

from ketformer.quantum.circuit import Angle, Circuit, Gate

_WIRE, _BOX, _GAP = 28, 23, 7  # pixels: between wires, height of a gate, between columns
_GLYPH = 5.6  # width of a letter, rather too wide
_COLOURS = {"RX": "#9a3fb5", "RY": "#1f62c8", "RZ": "#0b7a75"}
_PLAIN = "#56606b"


@dataclass(frozen=True)
class _Item:
    """What stands in a column: a gate, or a box over several wires."""

    name: str
    below: str
    target: int
    controls: tuple[int, ...] = ()
    height: int = 1  # wires

    @property
    def wires(self) -> range:
        """All that it touches or crosses."""
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


def circuit_svg(
    circuit: Circuit,
    *,
    measured: Iterable[int] = (),
    prepared: int = 0,
    width: int = 640,
    limit: int = 300,
    label: str = "",
) -> str:
    """Draw a circuit, qubit 0 on top; long ones are continued below.

    Lines and letters outside the gates take the text colour of the page around them.

    Args:
        circuit: any circuit; free angles are shown by name.
        measured: qubits with a meter at the end.
        prepared: the first that many gates are drawn as one box that prepares a token's state.
        width: pixels, at which the circuit is folded.
        limit: gates that are drawn at most.
        label: what is drawn, for those who do not see it.
    """
    gates = circuit.gates[prepared : prepared + limit]
    items = [_Item("|x⟩", f"{prepared} gates", 0, height=circuit.n_qubits)] if prepared else []
    items += [_item(gate) for gate in gates]
    if left := len(circuit.gates) - prepared - len(gates):
        items.append(_Item("…", f"{left} more", 0, height=circuit.n_qubits))
    columns = _packed(items, circuit.n_qubits)
    if meters := sorted(set(measured)):
        columns.append([_Item("meter", "", qubit) for qubit in meters])
    return _drawn(columns, circuit.n_qubits, width, label)


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
    """Each as far to the left as those before it on its wires allow."""
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


def _drawn(columns: list[list[_Item]], n_qubits: int, width: int, label: str) -> str:
    start = 12 + _GLYPH * (2 + len(str(n_qubits - 1)))
    lines: list[list[tuple[float, list[_Item]]]] = [[]]
    x = start
    for column in columns:
        wide = max(item.width for item in column)
        if lines[-1] and x + wide > width:
            lines.append([])
            x = start
        lines[-1].append((x + wide / 2, column))
        x += wide + _GAP
    right = max((line[-1][0] + line[-1][1][0].width for line in lines if line), default=start)
    right = width if len(lines) > 1 else min(max(right, start + 40), width)
    high = n_qubits * _WIRE + 12
    parts = []
    for number, line in enumerate(lines):
        top = number * high + 6 + _WIRE / 2
        for qubit in range(n_qubits):
            y = top + qubit * _WIRE
            parts.append(
                f'<text x="4" y="{y + 4:g}" fill="currentColor" font-size="10">q{qubit}</text>'
                f'<path d="M{start - 6:g} {y:g}H{right:g}" stroke="currentColor" opacity=".55"/>'
            )
        parts += [_shape(item, x, top) for x, column in line for item in column]
    height = len(lines) * high
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {right + 6:g} {height}" width="{right + 6:g}" height="{height}" '
        f'font-family="ui-monospace, monospace" fill="none">{"".join(parts)}</svg>'
    )


def _shape(item: _Item, x: float, top: float) -> str:
    y = top + item.target * _WIRE
    link = "".join(
        f'<path d="M{x:g} {top + control * _WIRE:g}V{y:g}" stroke="currentColor"/>'
        f'<circle cx="{x:g}" cy="{top + control * _WIRE:g}" r="3.5" fill="currentColor"/>'
        for control in item.controls
    )
    if item.is_cnot:
        return link + (
            f'<circle cx="{x:g}" cy="{y:g}" r="7" stroke="currentColor"/>'
            f'<path d="M{x - 7:g} {y:g}H{x + 7:g}M{x:g} {y - 7:g}V{y + 7:g}" '
            'stroke="currentColor"/>'
        )
    high = _BOX + (item.height - 1) * _WIRE
    box = (
        f'<rect x="{x - item.width / 2:g}" y="{y - _BOX / 2:g}" width="{item.width:g}" '
        f'height="{high}" rx="4" fill="{_COLOURS.get(item.name, _PLAIN)}"/>'
    )
    middle = y - _BOX / 2 + high / 2
    if item.name == "meter":
        return box + (
            f'<path d="M{x - 7:g} {y + 5:g}A7 7 0 0 1 {x + 7:g} {y + 5:g}M{x:g} {y + 5:g}'
            f'L{x + 5:g} {y - 6:g}" stroke="#fff"/>'
        )
    rows = [(item.name, 10), (item.below, 8)] if item.below else [(item.name, 11)]
    texts = "".join(
        f'<text x="{x:g}" y="{middle + (4 if len(rows) == 1 else -1 + 9 * i):g}" fill="#fff" '
        f'font-size="{size}" text-anchor="middle">{html.escape(words)}</text>'
        for i, (words, size) in enumerate(rows)
    )
    return link + box + texts
