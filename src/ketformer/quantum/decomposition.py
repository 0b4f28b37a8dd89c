"""Circuits in hardware gates: rotations and fixed gates on one qubit, and CNOT."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.gates import ELEMENTARY

_QUARTER = Angle(math.pi / 4)
# The rotation that each of these equals up to a phase, if nothing controls it.
_ROTATION = {
    "P": ("RZ", None),
    "SX": ("RX", Angle(math.pi / 2)),
    "SXDG": ("RX", Angle(-math.pi / 2)),
}


def decompose(circuit: Circuit) -> Circuit:
    """The same circuit, up to a global phase, in one-qubit gates and CNOT.

    The one-qubit gates are RX, RY, RZ, H, X, Y and Z. The phase is lost, so add controls before
    decomposing, not after.

    The identities are those of Barenco et al. (1995): a controlled rotation becomes two half
    rotations and two CNOTs, a Toffoli gate takes six CNOTs, and every further control about
    triples the number.
    """
    return Circuit(circuit.n_qubits, tuple(g for gate in circuit.gates for g in _native(gate)))


def _native(gate: Gate) -> Iterator[Gate]:
    if not gate.controls and gate.name in _ROTATION:
        name, angle = _ROTATION[gate.name]
        yield replace(gate, name=name, angle=gate.angle or angle)
        return
    if gate.name not in ELEMENTARY:
        for part in gate.elementary:
            yield from _native(part)
        return
    if not gate.controls or (gate.name == "X" and len(gate.controls) == 1):
        yield gate
        return
    for simpler in _simpler(gate):
        yield from _native(simpler)


def _simpler(gate: Gate) -> list[Gate]:
    """One step of the decomposition: gates with fewer controls, or controlled X gates."""
    target, controls = gate.target, gate.controls
    flip = Gate("X", target, controls)
    if gate.name in ("RY", "RZ"):
        assert gate.angle is not None
        # Of more than two controls, the half rotations take the last and the flips all others.
        others = controls[-1:] if len(controls) > 2 else ()
        flip = Gate("X", target, controls[: len(controls) - len(others)])
        there, back = (
            replace(gate, controls=others, angle=gate.angle.times(s)) for s in (0.5, -0.5)
        )
        return [there, flip, back, flip]
    if gate.name == "P":  # RZ with the phase that only the controls see
        assert gate.angle is not None
        seen = Gate("P", controls[-1], controls[:-1], gate.angle.times(0.5))
        return [seen, replace(gate, name="RZ")]
    # Y = Rz X Rz†, Z = H X H, RX = H RZ H, H = Ry Z Ry†: the change of axis needs no control.
    if gate.name == "RX":
        return _between(Gate("H", target), replace(gate, name="RZ"))
    if gate.name == "Z":
        return _between(Gate("H", target), flip)
    if gate.name == "Y":
        turn = Angle(math.pi / 2)
        return [Gate("RZ", target, angle=turn.times(-1)), flip, Gate("RZ", target, angle=turn)]
    if gate.name == "H":
        z = replace(gate, name="Z")
        return [Gate("RY", target, angle=_QUARTER.times(-1)), z, Gate("RY", target, angle=_QUARTER)]
    if len(controls) > 2:
        return _between(Gate("H", target), Gate("P", target, controls, Angle(math.pi)))
    first, second = controls
    return _toffoli(first, second, target)


def _between(turn: Gate, gate: Gate) -> list[Gate]:
    return [turn, gate, turn]


def _toffoli(a: int, b: int, target: int) -> list[Gate]:
    """Six CNOTs and eighths of a turn about Z (Nielsen and Chuang, fig. 4.9), up to a phase."""

    def cnot(control: int, on: int) -> Gate:
        return Gate("X", on, (control,))

    def eighth(qubit: int, sign: int = 1) -> Gate:
        return Gate("RZ", qubit, angle=_QUARTER.times(sign))

    hadamard = Gate("H", target)
    return [
        hadamard, cnot(b, target), eighth(target, -1), cnot(a, target), eighth(target),
        cnot(b, target), eighth(target, -1), cnot(a, target), eighth(b), eighth(target),
        hadamard, cnot(a, b), eighth(a), eighth(b, -1), cnot(a, b),
    ]  # fmt: skip
