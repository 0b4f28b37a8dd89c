"""Gates as values, and the one table of what each of them is.

Eight gates are elementary: every simulator and backend knows them. Each other gate is defined by
its product of elementary ones, exact in the phase too, which a controlled gate turns into a
relation between amplitudes. A backend that has such a gate itself may use that instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

#: The rotations and fixed gates that every device is assumed to have, besides CNOT.
ROTATIONS = ("RX", "RY", "RZ")
FIXED_GATES = ("H", "X", "Y", "Z")
#: The gates of which all others are made: those above, and P(a) = diag(1, exp(i a)).
ELEMENTARY = (*ROTATIONS, *FIXED_GATES, "P")


@dataclass(frozen=True)
class Angle:
    """An angle in radians: a named parameter or a fixed number, times a factor, plus an offset."""

    value: str | float
    factor: float = 1.0
    offset: float = 0.0

    @property
    def is_parameter(self) -> bool:
        """Whether the angle depends on a named parameter."""
        return isinstance(self.value, str)

    @property
    def is_plain(self) -> bool:
        """Whether the angle is a named parameter itself."""
        return self.is_parameter and self.factor == 1 and self.offset == 0

    def times(self, factor: float) -> Angle:
        """The angle multiplied by ``factor``."""
        if isinstance(self.value, str):
            return Angle(self.value, self.factor * factor, self.offset * factor)
        return Angle((self.value * self.factor + self.offset) * factor)

    def bound(self, values: Mapping[str, float]) -> float:
        """The angle in radians, with its name looked up in ``values``."""
        value = values[self.value] if isinstance(self.value, str) else self.value
        scaled = value * self.factor
        return scaled + self.offset if self.offset else scaled


@dataclass(frozen=True)
class Gate:
    """One gate: ``name`` on ``target``, applied where every control qubit is 1.

    CNOT is ``Gate("X", target, controls=(control,))``, CRX ``Gate("RX", target, (control,),
    angle)``. SWAP, RXX, RYY and RZZ act on ``second`` as well.
    """

    name: str
    target: int
    controls: tuple[int, ...] = ()
    angle: Angle | None = None
    second: int | None = None

    def __post_init__(self) -> None:
        if self.name not in GATES:
            raise ValueError(f"unknown gate {self.name!r}; known gates: {', '.join(GATES)}")
        kind = GATES[self.name]
        if kind.has_angle != (self.angle is not None):
            raise ValueError(f"{self.name} takes {'one' if kind.has_angle else 'no'} angle")
        if len(self.targets) != kind.targets:
            wanted = ("one target", "two targets")[kind.targets - 1]
            raise ValueError(f"{self.name} acts on {wanted}")
        if len(set(self.qubits)) != len(self.qubits):
            raise ValueError(f"{self.name}: a gate's qubits must differ, got {self.qubits}")

    @property
    def targets(self) -> tuple[int, ...]:
        """The qubits that the gate changes: one, or two for SWAP, RXX, RYY and RZZ."""
        return (self.target,) if self.second is None else (self.target, self.second)

    @property
    def qubits(self) -> tuple[int, ...]:
        """All qubits of the gate: controls first, then the targets."""
        return (*self.controls, *self.targets)

    @property
    def label(self) -> str:
        """The gate's usual name, with a C for each control: ``CX``, ``CRY``."""
        return "C" * len(self.controls) + self.name

    @property
    def is_real(self) -> bool:
        """Whether the gate's matrix is real."""
        return GATES[self.name].is_real

    @property
    def is_rotation(self) -> bool:
        """Whether it is exp(-i a G / 2) with eigenvalues ±1 of G; P is one only up to a phase."""
        return GATES[self.name].has_angle and self.name != "P"

    @property
    def elementary(self) -> tuple[Gate, ...]:
        """The same matrix, phase included, as a product of :data:`ELEMENTARY` gates."""
        definition = GATES[self.name].definition
        if definition is None:
            return (self,)
        return tuple(part for gate in definition(self) for part in gate.elementary)

    @property
    def inverse(self) -> Gate:
        """The gate that undoes this one."""
        if self.angle is not None:
            return replace(self, angle=self.angle.times(-1))
        return replace(self, name=GATES[self.name].inverse or self.name)

    def moved(self, wires: tuple[int, ...]) -> Gate:
        """The gate with its qubit ``i`` placed on ``wires[i]``."""
        second = None if self.second is None else wires[self.second]
        controls = tuple(wires[qubit] for qubit in self.controls)
        return replace(self, target=wires[self.target], controls=controls, second=second)


@dataclass(frozen=True)
class Kind:
    """What is known of a gate.

    Attributes:
        targets: number of qubits besides its controls.
        has_angle: whether it takes an angle; the inverse then takes minus the angle.
        is_real: whether its matrix is real.
        inverse: name of the inverse; None for the gate itself.
        definition: the gate as a product of simpler ones, first to last; None if it is elementary.
    """

    targets: int = 1
    has_angle: bool = False
    is_real: bool = False
    inverse: str | None = None
    definition: Callable[[Gate], list[Gate]] | None = None


def _phase(angle: float, gate: Gate) -> list[Gate]:
    return [replace(gate, name="P", angle=Angle(angle))]


def _between_hadamards(name: str, gate: Gate) -> list[Gate]:
    turn = Gate("H", gate.target)
    return [turn, replace(gate, name=name), turn]


def _swap(gate: Gate) -> list[Gate]:
    assert gate.second is not None
    outer = Gate("X", gate.second, (gate.target,))
    return [outer, Gate("X", gate.target, (*gate.controls, gate.second)), outer]


def _zz(gate: Gate) -> list[Gate]:
    assert gate.second is not None
    parity = Gate("X", gate.second, (gate.target,))
    return [parity, Gate("RZ", gate.second, gate.controls, gate.angle), parity]


def _turned_zz(there: str, gate: Gate) -> list[Gate]:
    """RZZ between changes of axis on both qubits, which need no control."""
    if there == "H":
        turns = [Gate("H", qubit) for qubit in gate.targets]
    else:
        turns = [Gate("RX", qubit, angle=Angle(math.pi / 2)) for qubit in gate.targets]
    back = [turn.inverse for turn in turns]
    return [*turns, replace(gate, name="RZZ"), *back]


#: Every gate by name. A fixed gate is given by its angle, so that controls see its phase.
GATES: dict[str, Kind] = {
    "RX": Kind(has_angle=True),
    "RY": Kind(has_angle=True, is_real=True),
    "RZ": Kind(has_angle=True),
    "H": Kind(is_real=True),
    "X": Kind(is_real=True),
    "Y": Kind(),
    "Z": Kind(is_real=True),
    "P": Kind(has_angle=True),
    "S": Kind(inverse="SDG", definition=partial(_phase, math.pi / 2)),
    "SDG": Kind(inverse="S", definition=partial(_phase, -math.pi / 2)),
    "T": Kind(inverse="TDG", definition=partial(_phase, math.pi / 4)),
    "TDG": Kind(inverse="T", definition=partial(_phase, -math.pi / 4)),
    "SX": Kind(inverse="SXDG", definition=partial(_between_hadamards, "S")),
    "SXDG": Kind(inverse="SX", definition=partial(_between_hadamards, "SDG")),
    "SWAP": Kind(targets=2, is_real=True, definition=_swap),
    "RXX": Kind(targets=2, has_angle=True, definition=partial(_turned_zz, "H")),
    "RYY": Kind(targets=2, has_angle=True, definition=partial(_turned_zz, "RX")),
    "RZZ": Kind(targets=2, has_angle=True, definition=_zz),
}
