"""The parametrised circuits that the published mechanisms share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from ketformer.quantum.circuit import Angle, Circuit, Gate

#: ``none`` is the ablation: the same rotations, and no gate between qubits.
Entanglement = Literal["ring", "none"]


def cnot_ring(n_qubits: int) -> Circuit:
    """CX(0→1), CX(1→2), …, CX(n-2→n-1), CX(n-1→0); nothing on one qubit."""
    circuit = Circuit(n_qubits)
    if n_qubits == 1:
        return circuit
    for control in range(n_qubits):
        circuit = circuit.cnot(control, (control + 1) % n_qubits)
    return circuit


def entangler(n_qubits: int, entanglement: Entanglement) -> Circuit:
    """The gates between the rotations: the ring, or no gates for ``none``."""
    return cnot_ring(n_qubits) if entanglement == "ring" else Circuit(n_qubits)


def rotation_ring_ansatz(
    n_qubits: int, layers: int = 1, prefix: str = "t", entanglement: Entanglement = "ring"
) -> Circuit:
    """``layers`` times (RY on each qubit, CNOT ring): real, ``layers * n_qubits`` angles.

    In arXiv 2502.19214 it prepares every register and is also the query and key map.
    """
    names = (f"{prefix}{i}" for i in range(layers * n_qubits))
    between, gates = entangler(n_qubits, entanglement).gates, []
    for _ in range(layers):
        gates += [*_rotations("RY", n_qubits, names), *between]
    return Circuit(n_qubits, tuple(gates))


def entangling_ansatz(
    n_qubits: int, layers: int = 1, prefix: str = "t", entanglement: Entanglement = "ring"
) -> Circuit:
    """RX and RY on each wire, then ``layers`` times (CNOT ring, RY on each wire).

    It has ``n_qubits * (layers + 2)`` angles, named ``{prefix}0``, ``{prefix}1``, … in
    order of use. With one layer it is the value circuit of QISA-A
    (arXiv 2603.03318) and the circuit of QSANN (arXiv 2205.05625, fig. 3).
    """
    names = (f"{prefix}{i}" for i in range(n_qubits * (layers + 2)))
    gates = [*_rotations("RX", n_qubits, names), *_rotations("RY", n_qubits, names)]
    between = entangler(n_qubits, entanglement).gates
    for _ in range(layers):
        gates += [*between, *_rotations("RY", n_qubits, names)]
    return Circuit(n_qubits, tuple(gates))


def rx_ring_ansatz(n_qubits: int, layers: int = 1, entanglement: Entanglement = "ring") -> Circuit:
    """``layers`` times (RX on each wire, CNOT ring): ``layers * n_qubits`` angles.

    On two wires the ring is a single CNOT, 0→1, as PennyLane's BasicEntanglerLayers has it, with
    which arXiv 2110.06510 was published.
    """
    names = (f"t{i}" for i in range(layers * n_qubits))
    between, gates = entangler(n_qubits, entanglement).gates, []
    for _ in range(layers):
        gates += [*_rotations("RX", n_qubits, names), *(between[:1] if n_qubits == 2 else between)]
    return Circuit(n_qubits, tuple(gates))


def strongly_entangling_ansatz(
    n_qubits: int, layers: int = 1, entanglement: Entanglement = "ring"
) -> Circuit:
    """``layers`` times (RZ, RY, RZ on each wire, then a ring of CNOTs): 3 angles a wire and layer.

    In layer l, counted from 0, the CNOTs go from wire i to wire i + r, with r = l mod (n - 1) + 1
    (the StronglyEntanglingLayers of PennyLane, after arXiv 1804.00633). Angles are in order of
    layer, wire and gate.
    """
    names = (f"t{i}" for i in range(3 * layers * n_qubits))
    gates: list[Gate] = []
    for layer in range(layers):
        for qubit in range(n_qubits):
            gates += [Gate(name, qubit, angle=Angle(next(names))) for name in ("RZ", "RY", "RZ")]
        if entanglement == "ring" and n_qubits > 1:
            reach = layer % (n_qubits - 1) + 1
            gates += [Gate("X", (q + reach) % n_qubits, (q,)) for q in range(n_qubits)]
    return Circuit(n_qubits, tuple(gates))


def rx_encoding(n_qubits: int) -> Circuit:
    """RX on each wire, with angles ``x0``, ``x1`` and so on."""
    names = (f"x{i}" for i in range(n_qubits))
    return Circuit(n_qubits, tuple(_rotations("RX", n_qubits, names)))


def beam_splitter(n_qubits: int, first: int, second: int, angle: Angle) -> Circuit:
    """RBS(t) on two of the qubits, a rotation of the plane of two unary states, in plain gates.

    With e_a the state in which qubit a alone is 1, e_first becomes cos t e_first + sin t e_second,
    and e_second becomes -sin t e_first + cos t e_second; both 0 and both 1 stay (arXiv 2209.08167).
    """
    rotate = (("RY", first, angle), ("RY", second, angle.times(-1)))
    turns = tuple(Gate("H", qubit) for qubit in (first, second))
    link = Gate("Z", second, (first,))
    middle = tuple(Gate(name, qubit, angle=given) for name, qubit, given in rotate)
    return Circuit(n_qubits, (*turns, link, *middle, link, *turns))


def _rotations(name: str, n_qubits: int, angles: Iterator[str]) -> list[Gate]:
    """A rotation on each wire, each with the next angle."""
    return [Gate(name, qubit, angle=Angle(next(angles))) for qubit in range(n_qubits)]


def angle_encoding_depth(n_features: int, n_qubits: int) -> int:
    """Layers that :func:`angle_encoding` needs for ``n_features`` numbers."""
    return max(math.ceil(n_features / n_qubits) - 2, 1)


def angle_encoding(n_features: int, n_qubits: int) -> Circuit:
    """QSANN's encoder: H on each wire, then the entangling ansatz whose angles are the features.

    The circuit has at least ``n_features`` angles named ``x0``, ``x1``, …; set the
    surplus ones to 0 (arXiv 2205.05625, section III).
    """
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        circuit = circuit.h(qubit)
    depth = angle_encoding_depth(n_features, n_qubits)
    return circuit.then(entangling_ansatz(n_qubits, depth, prefix="x"))
