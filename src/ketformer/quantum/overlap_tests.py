"""Circuits that measure overlaps other than the Hadamard test of two states."""

from __future__ import annotations

from dataclasses import replace

from ketformer.quantum.circuit import Circuit, Gate
from ketformer.quantum.hadamard import BRA, KET

# Gates without a control that leave |0…0> as it is.
_LEAVE_ZEROS = ("Z", "SWAP")


def reference_test(circuit: Circuit) -> Circuit:
    """A Hadamard test of the circuit's state |psi> against |0…0>, which needs no preparation.

    The last qubit is the ancilla. Measured together with the others it gives all amplitudes with
    their signs: <Z_ancilla X^z> = Re<0…0|X^z|psi> is the real part of that of the basis state z,
    where X^z is X on the qubits that are 1 in z. A superposition with a known state for the
    sign is the idea of arXiv 2106.16235, which measures it by classical shadows.

    Gates that leave |0…0> alone, such as CNOT, need no control by the ancilla. Last gates without
    a named angle are left out; all states' amplitudes are then those before them, with the same
    overlaps.

    Args:
        circuit: any; its angles become ``ket_…``. Its gates may have at most one control if the
            test is to be decomposed.
    """
    ancilla = circuit.n_qubits
    gates = list(circuit.renamed(KET).gates)
    while gates and not (gates[-1].angle and gates[-1].angle.is_parameter):
        gates.pop()
    only_ket = (
        gate if gate.controls or gate.name in _LEAVE_ZEROS else replace(gate, controls=(ancilla,))
        for gate in gates
    )
    return Circuit(ancilla + 1).h(ancilla).then(Circuit(ancilla + 1, tuple(only_ket))).h(ancilla)


def compute_uncompute(bra: Circuit, ket: Circuit) -> Circuit:
    """The ket's circuit and the inverse of the bra's: all qubits are 0 with |<bra|ket>|².

    The overlap's sign is lost. Angles become ``bra_…`` and ``ket_…``, and last gates
    that both circuits share cancel.

    Raises:
        ValueError: the circuits have different numbers of qubits.
    """
    left, right = _without_shared_end(bra, ket)
    return right.then(left.inverse())


def swap_test(bra: Circuit, ket: Circuit) -> Circuit:
    """Both states side by side, then an ancilla, the last qubit, with <Z> = |<bra|ket>|².

    The overlap's sign is lost (Buhrman et al., arXiv quant-ph/0102001). Each qubit takes a
    controlled swap of two CNOTs and a Toffoli gate. Angles become ``bra_…`` and ``ket_…``, and
    last gates that both circuits share cancel.

    Raises:
        ValueError: the circuits have different numbers of qubits.
    """
    left, right = _without_shared_end(bra, ket)
    n = bra.n_qubits
    ancilla = 2 * n
    circuit = Circuit(ancilla + 1).then(left, range(n)).then(right, range(n, 2 * n)).h(ancilla)
    swaps = []
    for one, other in zip(range(n), range(n, 2 * n), strict=True):
        outer = Gate("X", one, (other,))
        swaps += [outer, Gate("X", other, (ancilla, one)), outer]
    return circuit.then(Circuit(ancilla + 1, tuple(swaps))).h(ancilla)


def _without_shared_end(bra: Circuit, ket: Circuit) -> tuple[Circuit, Circuit]:
    if bra.n_qubits != ket.n_qubits:
        raise ValueError(f"an overlap of {bra.n_qubits} and {ket.n_qubits} qubits is not defined")
    left, right = list(bra.renamed(BRA).gates), list(ket.renamed(KET).gates)
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    return Circuit(bra.n_qubits, tuple(left)), Circuit(ket.n_qubits, tuple(right))
