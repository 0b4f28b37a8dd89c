"""A circuit as an immutable value: gates on qubits, some with named angles.

Qubit 0 is the most significant bit of the basis index. The only numbers in a
circuit are fixed angles; named angles are supplied when it is simulated, so
one circuit serves every batch, backend and gradient rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

ROTATIONS = ("RX", "RY", "RZ")
FIXED_GATES = ("H", "X", "Y", "Z")
_REAL_GATES = frozenset({"RY", "H", "X", "Z"})


@dataclass(frozen=True)
class Angle:
    """A rotation angle in radians: a named parameter or a fixed number, times a factor."""

    value: str | float
    factor: float = 1.0

    @property
    def is_parameter(self) -> bool:
        """Whether the angle is a named parameter."""
        return isinstance(self.value, str)

    def times(self, factor: float) -> Angle:
        """The angle multiplied by ``factor``."""
        if isinstance(self.value, str):
            return Angle(self.value, self.factor * factor)
        return Angle(self.value * self.factor * factor)

    def bound(self, values: Mapping[str, float]) -> float:
        """The angle in radians, with its name looked up in ``values``."""
        value = values[self.value] if isinstance(self.value, str) else self.value
        return value * self.factor


@dataclass(frozen=True)
class Gate:
    """One gate: ``name`` on ``target``, applied where every control qubit is 1.

    CNOT is ``Gate("X", target, controls=(control,))``.
    """

    name: str
    target: int
    controls: tuple[int, ...] = ()
    angle: Angle | None = None

    def __post_init__(self) -> None:
        if self.name not in ROTATIONS + FIXED_GATES:
            known = ", ".join(ROTATIONS + FIXED_GATES)
            raise ValueError(f"unknown gate {self.name!r}; known gates: {known}")
        if (self.name in ROTATIONS) != (self.angle is not None):
            raise ValueError(f"{self.name} takes {'one' if self.name in ROTATIONS else 'no'} angle")
        if len({self.target, *self.controls}) != 1 + len(self.controls):
            raise ValueError(f"{self.name}: a gate's qubits must differ, got {self.qubits}")

    @property
    def qubits(self) -> tuple[int, ...]:
        """All qubits of the gate: controls first, then the target."""
        return (*self.controls, self.target)

    @property
    def label(self) -> str:
        """The gate's usual name, with a C for each control: ``CX``, ``CRY``."""
        return "C" * len(self.controls) + self.name

    @property
    def is_real(self) -> bool:
        """Whether the gate's matrix is real."""
        return self.name in _REAL_GATES


@dataclass(frozen=True)
class Circuit:
    """An ordered tuple of gates on ``n_qubits`` qubits.

    The builder methods (``rx``, ``cnot``, ``controlled``, …) return a new
    circuit; nothing changes in place::

        bell = Circuit(2).h(0).cnot(0, 1)
        tilted = bell.ry(1, "theta")

    Raises:
        ValueError: a gate acts outside the register, or the register is empty.
    """

    n_qubits: int
    gates: tuple[Gate, ...] = field(default=())
    #: Names of the free angles, in order of first use.
    parameters: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.n_qubits < 1:
            raise ValueError(f"a circuit needs at least one qubit, got {self.n_qubits}")
        for gate in self.gates:
            if not all(0 <= q < self.n_qubits for q in gate.qubits):
                raise ValueError(
                    f"{gate.label} on qubits {gate.qubits} lies outside 0..{self.n_qubits - 1}"
                )
        names = (str(g.angle.value) for g in self.gates if g.angle and g.angle.is_parameter)
        object.__setattr__(self, "parameters", tuple(dict.fromkeys(names)))

    @property
    def is_real(self) -> bool:
        """Whether every gate, and so the circuit's unitary, is real."""
        return all(gate.is_real for gate in self.gates)

    def rx(self, qubit: int, angle: str | float) -> Circuit:
        """Append RX(angle)."""
        return self._append("RX", qubit, angle=angle)

    def ry(self, qubit: int, angle: str | float) -> Circuit:
        """Append RY(angle) = [[cos a/2, -sin a/2], [sin a/2, cos a/2]]."""
        return self._append("RY", qubit, angle=angle)

    def rz(self, qubit: int, angle: str | float) -> Circuit:
        """Append RZ(angle) = diag(exp(-i a/2), exp(i a/2))."""
        return self._append("RZ", qubit, angle=angle)

    def h(self, qubit: int) -> Circuit:
        """Append a Hadamard gate."""
        return self._append("H", qubit)

    def x(self, qubit: int) -> Circuit:
        """Append a Pauli X gate."""
        return self._append("X", qubit)

    def y(self, qubit: int) -> Circuit:
        """Append a Pauli Y gate."""
        return self._append("Y", qubit)

    def z(self, qubit: int) -> Circuit:
        """Append a Pauli Z gate."""
        return self._append("Z", qubit)

    def cnot(self, control: int, target: int) -> Circuit:
        """Append a CNOT."""
        return self._append("X", target, controls=(control,))

    def then(self, other: Circuit, qubits: Iterable[int] | None = None) -> Circuit:
        """Append another circuit, with its qubit ``i`` placed on ``qubits[i]``."""
        wires = tuple(qubits) if qubits is not None else tuple(range(other.n_qubits))
        if len(wires) != other.n_qubits:
            raise ValueError(f"a circuit on {other.n_qubits} qubits was given {len(wires)} wires")
        moved = (
            replace(g, target=wires[g.target], controls=tuple(wires[c] for c in g.controls))
            for g in other.gates
        )
        return Circuit(self.n_qubits, (*self.gates, *moved))

    def controlled(self, control: int) -> Circuit:
        """The same gates, each conditioned on qubit ``control`` as well.

        ``control`` may be a new qubit, in which case the register grows to hold it.
        """
        gates = (replace(g, controls=(control, *g.controls)) for g in self.gates)
        return Circuit(max(self.n_qubits, control + 1), tuple(gates))

    def inverse(self) -> Circuit:
        """The circuit that undoes this one; its angles keep their names."""
        gates = (replace(g, angle=g.angle and g.angle.times(-1)) for g in reversed(self.gates))
        return Circuit(self.n_qubits, tuple(gates))

    def renamed(self, prefix: str) -> Circuit:
        """The same circuit, with a prefix added to every named angle."""
        gates = (
            replace(g, angle=replace(g.angle, value=f"{prefix}{g.angle.value}"))
            if g.angle and g.angle.is_parameter
            else g
            for g in self.gates
        )
        return Circuit(self.n_qubits, tuple(gates))

    def _append(
        self,
        name: str,
        target: int,
        controls: tuple[int, ...] = (),
        angle: str | float | None = None,
    ) -> Circuit:
        gate = Gate(name, target, controls, None if angle is None else Angle(angle))
        return Circuit(self.n_qubits, (*self.gates, gate))
