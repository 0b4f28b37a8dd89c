"""The simulator agrees with an independent one: PennyLane's default.qubit."""

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import (
    Angle,
    Circuit,
    Gate,
    PauliStrings,
    amplitude_encode,
    angle_encoding,
    apply,
    cnot_ring,
    entangling_ansatz,
    pauli_expectations,
    run,
    unitary,
)
from ketformer.quantum.gates import GATES

from .helpers import (
    ANGLED,
    FIXED,
    assert_equal_to,
    circuits,
    pauli_strings,
    pennylane_expectations,
    pennylane_state,
    pennylane_unitary,
    random_angles,
    random_state,
    seeds,
    to_pennylane,
)

EXACT = 1e-12  # float64
SINGLE = 1e-5  # float32


@pytest.mark.parametrize("controls", [(), (3,), (3, 0)], ids=["plain", "one", "two"])
@pytest.mark.parametrize(
    ("name", "angle"),
    [(name, angle) for name in ANGLED for angle in (Angle("t", 0.5, -0.4), Angle(-1.3))]
    + [(name, None) for name in FIXED],
)
def test_every_gate_with_up_to_two_controls(name, angle, controls):
    gate = Gate(name, 2, controls, angle, 1 if GATES[name].targets == 2 else None)
    circuit = Circuit(4, (gate,))
    angles = random_angles(circuit)
    expected = pennylane_unitary(to_pennylane(circuit, angles), 4)
    assert_equal_to(EXACT, unitary(circuit, angles).to(torch.complex128), expected)


@settings(max_examples=60, deadline=None)
@given(circuits(), seeds)
def test_states_from_zero(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    expected = pennylane_state(to_pennylane(circuit, angles), circuit.n_qubits)
    assert_equal_to(EXACT, run(circuit, angles).to(torch.complex128), expected)
    assert_equal_to(SINGLE, run(circuit, angles.float()).to(torch.complex128), expected)


@settings(max_examples=40, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_states_from_any_state(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    start = random_state(circuit.n_qubits, seed=seed + 1)
    expected = pennylane_state(to_pennylane(circuit, angles), circuit.n_qubits, start)
    assert_equal_to(EXACT, apply(circuit, start, angles), expected)
    single = apply(circuit, start.to(torch.complex64), angles.float())
    assert_equal_to(SINGLE, single.to(torch.complex128), expected)


@settings(max_examples=40, deadline=None)
@given(circuits(max_qubits=5), seeds)
def test_unitaries(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    expected = pennylane_unitary(to_pennylane(circuit, angles), circuit.n_qubits)
    assert_equal_to(EXACT, unitary(circuit, angles).to(torch.complex128), expected)
    assert_equal_to(SINGLE, unitary(circuit, angles.float()).to(torch.complex128), expected)


@settings(max_examples=20, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_each_row_of_a_batch_is_its_own_circuit(circuit, seed):
    angles = random_angles(circuit, 3, seed=seed)
    states = run(circuit, angles).to(torch.complex128)
    for state, row in zip(states, angles, strict=True):
        assert_equal_to(EXACT, state, pennylane_state(to_pennylane(circuit, row), circuit.n_qubits))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5).flatmap(pauli_strings), seeds, st.booleans())
def test_pauli_expectations(strings, seed, real):
    dtype = torch.float64 if real else torch.complex128
    state = random_state(len(strings[0]), seed=seed, dtype=dtype)
    expected = pennylane_expectations(state, strings)
    assert_equal_to(EXACT, pauli_expectations(state, PauliStrings(strings)), expected)
    single = state.float() if real else state.to(torch.complex64)
    assert_equal_to(SINGLE, pauli_expectations(single, PauliStrings(strings)), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2), seeds)
def test_amplitude_encoding(n_features, spare_qubits, seed):
    features = torch.randn(
        n_features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    n_qubits = max((n_features - 1).bit_length(), 1) + spare_qubits
    embedding = qml.AmplitudeEmbedding(
        features.numpy(), wires=range(n_qubits), pad_with=0, normalize=True
    )
    expected = pennylane_state([embedding], n_qubits)
    assert_equal_to(EXACT, amplitude_encode(features, n_qubits), expected.real)
    assert_equal_to(SINGLE, amplitude_encode(features.float(), n_qubits), expected.real)


# The circuits of the papers, written by hand from the papers, not translated from our code.


def ring_by_hand(n_qubits):
    forward = [qml.CNOT([q, q + 1]) for q in range(n_qubits - 1)]
    return [*forward, qml.CNOT([n_qubits - 1, 0])] if n_qubits > 1 else []


def ansatz_by_hand(n_qubits, angles, layers=1):
    """RX and RY on each wire, then in each layer the ring and RY on each wire."""
    t = iter(map(float, angles))
    operations = [qml.RX(next(t), q) for q in range(n_qubits)]
    operations += [qml.RY(next(t), q) for q in range(n_qubits)]
    for _ in range(layers):
        operations += ring_by_hand(n_qubits)
        operations += [qml.RY(next(t), q) for q in range(n_qubits)]
    return operations


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 6])
def test_cnot_ring_by_hand(n_qubits):
    expected = pennylane_unitary(ring_by_hand(n_qubits), n_qubits)
    assert torch.equal(unitary(cnot_ring(n_qubits)).to(torch.complex128), expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4])
def test_entangling_ansatz_by_hand(n_qubits, layers):
    circuit = entangling_ansatz(n_qubits, layers)
    assert len(circuit.parameters) == n_qubits * (layers + 2)
    angles = random_angles(circuit)
    expected = pennylane_unitary(ansatz_by_hand(n_qubits, angles, layers), n_qubits)
    assert_equal_to(EXACT, unitary(circuit, angles), expected)


@pytest.mark.parametrize(
    ("n_features", "n_qubits", "layers"), [(3, 2, 1), (9, 3, 1), (12, 3, 2), (16, 4, 2), (17, 3, 4)]
)
def test_angle_encoding_by_hand(n_features, n_qubits, layers):
    circuit = angle_encoding(n_features, n_qubits)
    angles = random_angles(circuit)
    assert len(angles) >= n_features
    hadamards = [qml.Hadamard(q) for q in range(n_qubits)]
    by_hand = hadamards + ansatz_by_hand(n_qubits, angles, layers)
    assert_equal_to(EXACT, run(circuit, angles), pennylane_state(by_hand, n_qubits))
