"""Swap tests, compute-uncompute and reference tests show the overlaps of two circuits' states."""

from itertools import product

import pennylane as qml
import pytest
import torch
from hypothesis import given, strategies as st

from ketformer.quantum import (
    Circuit,
    PauliStrings,
    compute_uncompute,
    decompose,
    entangling_ansatz,
    hadamard_test,
    overlap,
    pauli_expectations,
    reference_test,
    rotation_ring_ansatz,
    run,
    swap_test,
)
from ketformer.quantum.hadamard import BRA, KET
from ketformer.quantum.resources import count_resources

from .helpers import assert_equal_to, circuits, random_angles, seeds

EXACT = 1e-12  # float64
RING = rotation_ring_ansatz(3, layers=2)


def columns(test, bra, ket):
    """The test's angles, from two tensors of angles by name."""
    named = {f"{BRA}{name}": value for name, value in bra.items()}
    named |= {f"{KET}{name}": value for name, value in ket.items()}
    return torch.stack([named[name] for name in test.parameters], dim=-1)


def by_name(circuit, angles):
    return dict(zip(circuit.parameters, angles.unbind(-1), strict=True))


def two_states(circuit, seed, *batch):
    bra, ket = (random_angles(circuit, *batch, seed=seed + i) for i in range(2))
    return bra, ket, overlap(run(circuit, bra), run(circuit, ket))


def run_test(test, bra_circuit, bra, ket_circuit, ket):
    names = columns(test, by_name(bra_circuit, bra), by_name(ket_circuit, ket))
    return run(test, names)


@given(circuits(max_qubits=3, max_gates=6), seeds)
def test_squares_of_any_two_circuits(one, seed):
    other = entangling_ansatz(one.n_qubits)
    a, b = random_angles(one, seed=seed), random_angles(other, seed=seed + 1)
    square = overlap(run(one, a), run(other, b)).abs().square()
    state = run_test(swap_test(one, other), one, a, other, b)
    ancilla = PauliStrings(("I" * 2 * one.n_qubits + "Z",))
    assert_equal_to(EXACT, pauli_expectations(state, ancilla)[0], square)
    state = run_test(compute_uncompute(one, other), one, a, other, b)
    assert_equal_to(EXACT, state[0].abs().square(), square)


def test_the_swap_test_is_pennylanes():
    bra, ket, square = two_states(RING, 5)

    @qml.qnode(qml.device("default.qubit", wires=7))
    def circuit():
        for first, angles in ((0, bra), (3, ket)):
            for layer in angles.reshape(2, 3).tolist():
                for qubit in range(3):
                    qml.RY(layer[qubit], first + qubit)
                for qubit in range(3):
                    qml.CNOT([first + qubit, first + (qubit + 1) % 3])
        qml.Hadamard(6)
        for qubit in range(3):
            qml.CSWAP([6, qubit, 3 + qubit])
        qml.Hadamard(6)
        return qml.expval(qml.Z(6))

    test = swap_test(RING, RING)
    state = run(test, columns(test, by_name(RING, bra), by_name(RING, ket)))
    ours = pauli_expectations(state, PauliStrings(("I" * 6 + "Z",)))[0]
    assert float(ours) == pytest.approx(float(circuit()), abs=EXACT)
    assert float(ours) == pytest.approx(float(square) ** 2, abs=EXACT)


def test_gates_that_both_states_end_with_cancel():
    """Of two rings of CNOTs only one is left in each state."""
    assert [g.label for g in compute_uncompute(RING, RING).gates].count("CX") == 2 * 3
    assert [g.label for g in swap_test(RING, RING).gates].count("CX") == 2 * 3 + 2 * 3
    # One ring and two CNOTs a rotation, as in a Hadamard test.
    counts = [count_resources(c) for c in (reference_test(RING), hadamard_test(RING, RING))]
    assert counts[0].two_qubit_gates == counts[1].two_qubit_gates == 3 + 2 * 6
    assert counts[0].one_qubit_gates < counts[1].one_qubit_gates


def amplitudes(circuit, angles):
    test = reference_test(circuit)
    strings = PauliStrings(tuple("".join(s) + "Z" for s in product("IX", repeat=circuit.n_qubits)))
    return pauli_expectations(run(test, columns(test, {}, by_name(circuit, angles))), strings)


@given(st.integers(1, 3), st.integers(1, 3), seeds)
def test_a_reference_test_gives_all_amplitudes_with_their_signs(n_qubits, layers, seed):
    circuit = rotation_ring_ansatz(n_qubits, layers)
    bra, ket, wanted = two_states(circuit, seed, 4)
    # The last ring of CNOTs, which no overlap depends on, is left out.
    before = Circuit(n_qubits, circuit.gates[: len(circuit.gates) - n_qubits * (n_qubits > 1)])
    found = [amplitudes(circuit, angles) for angles in (bra, ket)]
    for seen, angles in zip(found, (bra, ket), strict=True):
        assert_equal_to(EXACT, seen, run(before, angles))
    assert_equal_to(EXACT, (found[0] * found[1]).sum(-1), wanted)


@given(circuits(max_qubits=3, max_gates=6), seeds)
def test_a_reference_test_of_any_circuit_gives_the_real_parts(circuit, seed):
    circuit = circuit.ry(0, "last")  # nothing is left out
    angles = random_angles(circuit, seed=seed)
    assert_equal_to(EXACT, amplitudes(circuit, angles), run(circuit, angles).real)


@pytest.mark.parametrize("test", [swap_test, compute_uncompute])
def test_states_of_different_size_have_no_overlap(test):
    with pytest.raises(ValueError, match="1 and 2 qubits"):
        test(Circuit(1), Circuit(2))


@pytest.mark.parametrize("test", [swap_test, compute_uncompute])
def test_they_decompose_into_gates_of_two_qubits(test):
    native = decompose(test(RING, RING))
    assert max(len(gate.qubits) for gate in native.gates) == 2
