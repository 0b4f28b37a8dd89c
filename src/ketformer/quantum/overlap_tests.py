"""Circuits that measure overlaps other than the Hadamard test of two states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.hadamard import BRA, KET, hadamard_test


def reference_test(circuit: Circuit, reference: Sequence[str] | None = None) -> Circuit:
    """A Hadamard test of the circuit's state |psi> against a state |r> that is easy to prepare.

    The last qubit is the ancilla. Measured together with the others it gives all amplitudes with
    their signs: <Z_ancilla X^z> = <0…0|X^z|psi> is that of the basis state z, where X^z is X on
    the qubits that are 1 in z. A superposition with a known state for the sign is the
    idea of arXiv 2106.16235, which measures it by classical shadows.

    The gates are those of :func:`~ketformer.quantum.hadamard_test`, without the rotations by 0.
    Last CNOTs are left out; all states' amplitudes are then those before them.

    Args:
        circuit: RY and CNOTs. Its angles become ``ket_…``.
        reference: names of the angles of RY, one for each qubit, that prepare |r>, which become
            ``bra_…``; by default |r> is |0…0>. Others need a circuit of RY alone.

    Raises:
        ValueError: the circuit has other gates.
    """
    allowed = ("RY",) if reference else ("RY", "CX")
    if other := {gate.label for gate in circuit.gates}.difference(allowed):
        raise ValueError(f"a reference needs {' and '.join(allowed)} alone, got {min(other)}")
    left = {qubit: Angle(name) for qubit, name in enumerate(reference or ())}
    # Its CNOTs leave |0…0> alone.
    gates = (
        replace(gate, angle=left.pop(gate.target, Angle(0.0))) if gate.angle else gate
        for gate in circuit.gates
    )
    test = hadamard_test(Circuit(circuit.n_qubits, tuple(gates)), circuit)
    kept = (g for g in test.gates if g.angle is None or g.angle.is_parameter or g.angle.value)
    return Circuit(test.n_qubits, tuple(kept))


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
