"""The cost of a circuit on hardware: qubits, depth and gates, counted rather than estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.decomposition import decompose


@dataclass(frozen=True)
class Resources:
    """Counts of one circuit in one-qubit gates and CNOTs.

    Attributes:
        n_qubits: qubits, an ancilla included.
        depth: layers of gates, where gates on different qubits run in parallel.
        one_qubit_gates: rotations and fixed gates.
        two_qubit_gates: CNOTs.
        parameters: named angles.
    """

    n_qubits: int
    depth: int
    one_qubit_gates: int
    two_qubit_gates: int
    parameters: int

    @property
    def gates(self) -> int:
        """Number of all gates."""
        return self.one_qubit_gates + self.two_qubit_gates


def count_resources(circuit: Circuit) -> Resources:
    """Count the gates of a circuit after decomposition into one-qubit gates and CNOTs."""
    native = decompose(circuit)
    levels = [0] * native.n_qubits
    two = 0
    for gate in native.gates:
        level = 1 + max(levels[q] for q in gate.qubits)
        for qubit in gate.qubits:
            levels[qubit] = level
        two += bool(gate.controls)
    return Resources(
        n_qubits=native.n_qubits,
        depth=max(levels),
        one_qubit_gates=len(native.gates) - two,
        two_qubit_gates=two,
        parameters=len(circuit.parameters),
    )


def shots_for(precision: float, scale: float = 1.0) -> int:
    """Shots that bring the standard error of ``scale`` times an expectation to ``precision``.

    A Pauli string's outcomes are ±1, so their variance is at most 1.

    Raises:
        ValueError: ``precision`` is not positive.
    """
    if not precision > 0:
        raise ValueError(f"precision must be positive, got {precision}")
    return math.ceil((scale / precision) ** 2 * (1 - 1e-12))  # 3,200 shots, not 3,201
