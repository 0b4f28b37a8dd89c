"""A circuit as an immutable value: gates on qubits, some with named angles.

Qubit 0 is the most significant bit of the basis index. The only numbers in a
circuit are fixed angles; named angles are supplied when it is simulated, so
one circuit serves every batch, backend and gradient rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ketformer.quantum.gates import (
    FIXED_GATES as FIXED_GATES,
    ROTATIONS as ROTATIONS,
    Angle as Angle,
    Gate as Gate,
)

#: What the builder methods take: a name, a number of radians, or ``Angle("t", 2, math.pi / 2)``.
AngleLike = str | float | Angle


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
    #: The same circuit, phase included, in elementary gates; see :attr:`Gate.elementary`.
    elementary: tuple[Gate, ...] = field(init=False, repr=False, compare=False)

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
        simple = tuple(part for gate in self.gates for part in gate.elementary)
        object.__setattr__(self, "elementary", simple)

    @classmethod
    def from_qiskit(cls, circuit: Any) -> Circuit:
        """A ``qiskit.QuantumCircuit``, with the same qubit indices.

        Each ``Parameter`` becomes a named angle. An angle may be any affine expression; a sum of
        parameters becomes one gate for each. Gates that are not ours are decomposed by Qiskit's
        transpiler, without optimisation. The global phase is kept, because a control sees it.
        Barriers and final measurements are dropped.

        Qiskit's qubit 0 is the least significant bit of a basis index and ours the most:
        ``Statevector(circuit.reverse_bits())`` has our order of amplitudes.

        Raises:
            KetformerError: Qiskit is missing; something is not unitary (a measurement before
                other gates, a reset, classical control); an angle is not affine.
        """
        from ketformer.quantum.backends.from_qiskit import read_qiskit

        return cls(*read_qiskit(circuit))

    @classmethod
    def from_qasm(cls, text: str) -> Circuit:
        """A program in OpenQASM 2 or 3, read by Qiskit's importers; ``q[i]`` is qubit ``i``.

        Registers follow each other in order of declaration. ``input`` angles become named ones.
        A program as :func:`~ketformer.quantum.qasm.to_qasm` writes it is read without Qiskit, and
        its angles get their original names.
        The text is only data: it can neither import code nor open a file.

        Raises:
            KetformerError: the program is wrong, with the importer's reason; or as in
                :meth:`from_qiskit`.
        """
        from ketformer.quantum.qasm_reader import read_own

        own = read_own(text)
        if own is None:
            from ketformer.quantum.backends.from_qiskit import read_openqasm

            own = read_openqasm(text)
        return cls(*own)

    @classmethod
    def from_pennylane(cls, source: Any, *args: Any, **kwargs: Any) -> Circuit:
        """A PennyLane QNode, quantum function or tape; wire ``i`` is qubit ``i``.

        Wires with other labels are numbered in the device's order, or by first use. Gates that
        are not ours are decomposed by PennyLane. Measurements at the end are dropped.

        Args:
            source: a QNode or function, or a ``QuantumScript``. A tape's trainable parameters
                become the angles ``t0``, ``t1``, ….
            *args: arguments of the function. Each float, and each entry of a float array, becomes
                a named angle, such as ``x`` or ``weights[0,2]``; their values count for nothing.
            **kwargs: further arguments, whose values are kept.

        Raises:
            KetformerError: PennyLane is missing; something is not unitary; the gates depend on
                the values; an angle is not affine in them.
        """
        from ketformer.quantum.backends.from_pennylane import read_pennylane

        return cls(*read_pennylane(source, *args, **kwargs))

    @property
    def is_real(self) -> bool:
        """Whether every gate, and so the circuit's unitary, is real."""
        return all(gate.is_real for gate in self.gates)

    def rx(self, qubit: int, angle: AngleLike) -> Circuit:
        """Append RX(angle) = exp(-i angle X / 2)."""
        return self._append("RX", qubit, angle=angle)

    def ry(self, qubit: int, angle: AngleLike) -> Circuit:
        """Append RY(angle) = [[cos a/2, -sin a/2], [sin a/2, cos a/2]]."""
        return self._append("RY", qubit, angle=angle)

    def rz(self, qubit: int, angle: AngleLike) -> Circuit:
        """Append RZ(angle) = diag(exp(-i a/2), exp(i a/2))."""
        return self._append("RZ", qubit, angle=angle)

    def p(self, qubit: int, angle: AngleLike) -> Circuit:
        """Append the phase gate P(angle) = diag(1, exp(i a))."""
        return self._append("P", qubit, angle=angle)

    def u(self, qubit: int, theta: AngleLike, phi: AngleLike, lam: AngleLike) -> Circuit:
        """Append U(theta, phi, lam) = P(phi) RY(theta) P(lam), OpenQASM's general gate.

        It is kept as these three gates, each with an angle of its own.
        """
        return self.p(qubit, lam).ry(qubit, theta).p(qubit, phi)

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

    def s(self, qubit: int) -> Circuit:
        """Append S = diag(1, i)."""
        return self._append("S", qubit)

    def sdg(self, qubit: int) -> Circuit:
        """Append the inverse of S."""
        return self._append("SDG", qubit)

    def t(self, qubit: int) -> Circuit:
        """Append T = diag(1, exp(i pi/4))."""
        return self._append("T", qubit)

    def tdg(self, qubit: int) -> Circuit:
        """Append the inverse of T."""
        return self._append("TDG", qubit)

    def sx(self, qubit: int) -> Circuit:
        """Append SX, the square root of X with SX|+> = |+>."""
        return self._append("SX", qubit)

    def sxdg(self, qubit: int) -> Circuit:
        """Append the inverse of SX."""
        return self._append("SXDG", qubit)

    def cnot(self, control: int, target: int) -> Circuit:
        """Append a CNOT."""
        return self._append("X", target, controls=(control,))

    def cz(self, control: int, target: int) -> Circuit:
        """Append a controlled Z."""
        return self._append("Z", target, controls=(control,))

    def crx(self, control: int, target: int, angle: AngleLike) -> Circuit:
        """Append a controlled RX(angle)."""
        return self._append("RX", target, (control,), angle)

    def cry(self, control: int, target: int, angle: AngleLike) -> Circuit:
        """Append a controlled RY(angle)."""
        return self._append("RY", target, (control,), angle)

    def crz(self, control: int, target: int, angle: AngleLike) -> Circuit:
        """Append a controlled RZ(angle)."""
        return self._append("RZ", target, (control,), angle)

    def swap(self, first: int, second: int) -> Circuit:
        """Append a SWAP."""
        return self._append("SWAP", first, second=second)

    def rxx(self, first: int, second: int, angle: AngleLike) -> Circuit:
        """Append RXX(angle) = exp(-i angle X⊗X / 2)."""
        return self._append("RXX", first, angle=angle, second=second)

    def ryy(self, first: int, second: int, angle: AngleLike) -> Circuit:
        """Append RYY(angle) = exp(-i angle Y⊗Y / 2)."""
        return self._append("RYY", first, angle=angle, second=second)

    def rzz(self, first: int, second: int, angle: AngleLike) -> Circuit:
        """Append RZZ(angle) = exp(-i angle Z⊗Z / 2)."""
        return self._append("RZZ", first, angle=angle, second=second)

    def phase(self, angle: AngleLike) -> Circuit:
        """Multiply by exp(i angle), which a control turns into a relative phase.

        It takes two gates on qubit 0, RZ(-2 angle) and P(2 angle).
        """
        turn = _as_angle(angle).times(2)
        return self.rz(0, turn.times(-1)).p(0, turn)

    def then(self, other: Circuit, qubits: Iterable[int] | None = None) -> Circuit:
        """Append another circuit, with its qubit ``i`` placed on ``qubits[i]``."""
        wires = tuple(qubits) if qubits is not None else tuple(range(other.n_qubits))
        if len(wires) != other.n_qubits:
            raise ValueError(f"a circuit on {other.n_qubits} qubits was given {len(wires)} wires")
        return Circuit(self.n_qubits, (*self.gates, *(g.moved(wires) for g in other.gates)))

    def controlled(self, control: int) -> Circuit:
        """The same gates, each conditioned on qubit ``control`` as well.

        ``control`` may be a new qubit, in which case the register grows to hold it.
        """
        gates = (replace(g, controls=(control, *g.controls)) for g in self.gates)
        return Circuit(max(self.n_qubits, control + 1), tuple(gates))

    def inverse(self) -> Circuit:
        """The circuit that undoes this one; its angles keep their names."""
        return Circuit(self.n_qubits, tuple(gate.inverse for gate in reversed(self.gates)))

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
        angle: AngleLike | None = None,
        second: int | None = None,
    ) -> Circuit:
        gate = Gate(name, target, controls, None if angle is None else _as_angle(angle), second)
        return Circuit(self.n_qubits, (*self.gates, gate))


def _as_angle(angle: AngleLike) -> Angle:
    return angle if isinstance(angle, Angle) else Angle(angle)
