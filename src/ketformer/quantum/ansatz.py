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
