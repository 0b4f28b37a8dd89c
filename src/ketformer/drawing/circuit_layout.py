"""Where everything in a circuit's drawing stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.experiment import Experiment
from ketformer.quantum.preparation import amplitude_preparation

# Points: between wires, height of a gate, between columns, around the picture.
WIRE, BOX, _GAP, MARGIN = 28.0, 23.0, 7.0, 6.0
METER = "meter"  # the name of a measurement
_GLYPH = 5.6  # width of a letter, rounded up
_SYMBOLS = {"SDG": "S†", "TDG": "T†", "SX": "√X", "SXDG": "√X†"}
_LONG = 100  # gates; in longer circuits a token's preparation is drawn as one box
_PARTS = 24  # multiples of π over this are written as such


@dataclass(frozen=True)
class Item:
    """An entry of a column: a gate, or a box over several wires."""

    name: str
    below: str
    target: int
    controls: tuple[int, ...] = ()
    height: int = 1  # wires
    second: int | None = None  # the other target

    @property
    def targets(self) -> tuple[int, ...]:
        """First wires of its boxes or signs."""
        return (self.target,) if self.second is None else (self.target, self.second)

    @property
    def wires(self) -> range:
        """All wires that it touches or crosses."""
        ends = (self.target + self.height - 1, *self.targets, *self.controls)
        return range(min(ends), max(ends) + 1)

    @property
    def is_sign(self) -> bool:
        """Whether it is drawn without a box: CNOT and SWAP."""
        return self.name == "SWAP" or (self.name == "X" and bool(self.controls))

    @property
    def width(self) -> float:
        """Width in points."""
        if self.is_sign:
            return 18
        name = "" if self.name == METER else self.name
        return max(26, _GLYPH * max(len(name) + 1, len(self.below)) + 6)


@dataclass(frozen=True)
class Layout:
    """Positions of all elements, in points from the upper left corner.

    Attributes:
        width: width of the picture.
        height: height of the picture.
        labels: names of the wires, from the top.
        lines: for each line of the picture, y of its first wire.
        start: x where the wires begin.
        placed: each item with x of its middle and y of its first wire.
    """

    width: float
    height: float
    labels: tuple[str, ...]
    lines: tuple[float, ...]
    start: float
    placed: tuple[tuple[Item, float, float], ...]

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Left, top, width and height of each box; CNOT and SWAP have none."""
        return [
            (x - i.width / 2, top - BOX / 2, i.width, BOX + (i.height - 1) * WIRE)
            for i, x, y in self.placed
            if not i.is_sign
            for top in (y + (target - i.target) * WIRE for target in i.targets)
        ]


def layout(
    circuit: Circuit,
    *,
    measured: Mapping[int, str] | None = None,
    prepared: int = 0,
    width: int = 640,
    limit: int | None = None,
    registers: Sequence[tuple[str, int]] = (),
) -> Layout:
    """Place every gate as far to the left as the gates before it allow.

    Args:
        circuit: any circuit; free angles are shown by name.
        measured: qubits with a meter at the end, and the letters of the axes it measures.
        prepared: number of leading gates drawn as one box that prepares a token's state.
        width: width in points; longer circuits continue on the next line.
        limit: maximum number of gates to draw.
        registers: names and sizes of the registers, in order of the qubits; by default one, q.
    """
    gates = circuit.gates[prepared:][:limit]
    items = [Item("|x⟩", f"{prepared} gates", 0, height=circuit.n_qubits)] if prepared else []
    items += [_item(gate) for gate in gates]
    if left := len(circuit.gates) - prepared - len(gates):
        items.append(Item("…", f"{left} more", 0, height=circuit.n_qubits))
    columns = _packed(items, circuit.n_qubits)
    if measured:
        columns.append([Item(METER, axes, qubit) for qubit, axes in sorted(measured.items())])
    return _placed(columns, _labels(registers or (("q", circuit.n_qubits),)), width)


def experiment_layout(
    experiment: Experiment, *, width: int = 640, limit: int | None = None
) -> Layout:
    """The layout of what hardware runs: the circuit, its registers and its measurement.

    In a long circuit, the gates that only prepare a token's amplitudes are one box.

    Args:
        experiment: the circuit and the Pauli strings measured after it.
        width: width in points.
        limit: maximum number of gates to draw.
    """
    circuit = experiment.circuit
    return layout(
        circuit,
        measured=measured_axes(experiment),
        prepared=_preparation(circuit),
        width=width,
        limit=limit,
        registers=experiment.registers,
    )


def measured_axes(experiment: Experiment) -> dict[int, str]:
    """The letters that the strings have at each measured qubit: ``Z``, or ``XYZ``."""
    columns = enumerate(zip(*experiment.strings.strings, strict=True))
    found = {qubit: "".join(sorted({*letters} - {"I"})) for qubit, letters in columns}
    return {qubit: letters for qubit, letters in found.items() if letters}


def _preparation(circuit: Circuit) -> int:
    """Number of leading gates that only prepare a token, if the circuit is long; otherwise 0."""
    # A preparation has a rotation for each amplitude but the first, too many to build in vain.
    if len(circuit.gates) < max(_LONG + 1, 2**circuit.n_qubits - 1):
        return 0
    gates = amplitude_preparation(circuit.n_qubits).gates
    return len(gates) if circuit.gates[: len(gates)] == gates else 0


def _labels(registers: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(
        name if size == 1 and len(registers) > 1 else f"{name}{qubit}"
        for name, size in registers
        for qubit in range(size)
    )


def _item(gate: Gate) -> Item:
    below = "" if gate.angle is None else angle_text(gate.angle)
    name = _SYMBOLS.get(gate.name, gate.name)
    return Item(name, below, gate.target, gate.controls, second=gate.second)


def angle_text(angle: Angle) -> str:
    """An angle as one reads it: ``θ``, ``−θ/2``, ``2·θ+π/2``, ``0.785``."""
    if not isinstance(angle.value, str):
        return _number(angle.bound({}))
    sign = "−" if angle.factor < 0 else ""
    size = abs(angle.factor)
    if size == 1:
        scaled = f"{sign}{angle.value}"
    elif size and (1 / size).is_integer():
        scaled = f"{sign}{angle.value}/{1 / size:.0f}"
    else:
        scaled = f"{sign}{size:.3g}·{angle.value}"
    if not angle.offset:
        return scaled
    return f"{scaled}{'−' if angle.offset < 0 else '+'}{_number(abs(angle.offset))}"


def _number(value: float) -> str:
    """Three digits, or a simple fraction of π."""
    part = Fraction(round(value / math.pi * _PARTS), _PARTS)
    if not part or abs(float(part) * math.pi - value) > 1e-9:
        return f"{value:.3g}".replace("-", "−")
    size = abs(part.numerator)
    over = "" if part.denominator == 1 else f"/{part.denominator}"
    return f"{'−' if part < 0 else ''}{'' if size == 1 else size}π{over}"


def _packed(items: list[Item], n_qubits: int) -> list[list[Item]]:
    """Columns of items, each as far to the left as earlier items on its wires allow."""
    columns: list[list[Item]] = []
    free = [0] * n_qubits
    for item in items:
        column = max(free[wire] for wire in item.wires)
        if column == len(columns):
            columns.append([])
        columns[column].append(item)
        for wire in item.wires:
            free[wire] = column + 1
    return columns


def _placed(columns: list[list[Item]], labels: tuple[str, ...], width: float) -> Layout:
    start = 12 + _GLYPH * (1 + max(map(len, labels)))
    high = len(labels) * WIRE + 2 * MARGIN
    placed: list[tuple[Item, float, float]] = []
    lines = [MARGIN + WIRE / 2]
    x, right = start, start + 40
    for column in columns:
        wide = max(item.width for item in column)
        if x > start and x + wide > width:
            lines.append(lines[-1] + high)
            x, right = start, width
        placed += [(i, x + wide / 2, lines[-1] + i.target * WIRE) for i in column]
        x += wide + _GAP
        right = max(right, x)
    return Layout(right + MARGIN, len(lines) * high, labels, tuple(lines), start, tuple(placed))
