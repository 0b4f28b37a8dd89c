"""Rotations with angles computed from the amplitudes prepare the encoded state."""

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import (
    Circuit,
    amplitude_angles,
    amplitude_encode,
    amplitude_preparation,
    decompose,
    run,
)

from .helpers import assert_equal_to, pennylane_state, random_state, seeds, to_pennylane

EXACT = 1e-12  # float64
SINGLE = 1e-5  # float32


def prepared(vector):
    """The state that the circuit prepares, for vectors ``[..., 2^n]``."""
    n_qubits = (vector.shape[-1] - 1).bit_length()
    return run(amplitude_preparation(n_qubits), amplitude_angles(vector))


def vector_with_zeros(n_qubits, seed, *batch):
    """Numbers of either sign and any size, about half of them zero."""
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, 2**n_qubits)
    vector = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = 10.0 ** torch.randint(-6, 7, (*batch, 1), generator=generator)
    return vector * scale * (torch.rand(shape, generator=generator) < 0.5)


# --- The state ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_qubits", range(1, 9))
def test_states_are_those_of_amplitude_encoding(n_qubits):
    vectors = 3 * random_state(n_qubits, 4, dtype=torch.float64)
    assert_equal_to(EXACT, prepared(vectors), amplitude_encode(vectors))
    assert_equal_to(SINGLE, prepared(vectors.float()), amplitude_encode(vectors))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), seeds)
def test_states_with_zeros(n_qubits, seed):
    vector = vector_with_zeros(n_qubits, seed)
    expected = amplitude_encode(vector)
    if not vector.any():
        expected[0] = 1
    assert_equal_to(EXACT, prepared(vector), expected)


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4])
def test_basis_states_of_either_sign(n_qubits):
    basis = torch.eye(2**n_qubits, dtype=torch.float64)
    assert_equal_to(EXACT, prepared(basis), basis)
    assert_equal_to(EXACT, prepared(-basis), -basis)


@pytest.mark.parametrize("n_qubits", [1, 3])
def test_a_zero_vector_gives_the_first_basis_state(n_qubits):
    vectors = torch.zeros(2, 2**n_qubits, dtype=torch.float64)
    assert not amplitude_angles(vectors).any()
    assert torch.equal(prepared(vectors), torch.eye(2**n_qubits, dtype=torch.float64)[[0, 0]])


@pytest.mark.parametrize("n_qubits", [1, 2, 5])
def test_the_norm_does_not_matter(n_qubits):
    state = random_state(n_qubits, dtype=torch.float64)
    for norm in (1e-200, 1e-3, 1e200):
        assert_equal_to(EXACT, amplitude_angles(norm * state), amplitude_angles(state))


def test_batches():
    vectors = vector_with_zeros(3, 0, 2, 3)
    angles = amplitude_angles(vectors)
    assert angles.shape == (2, 3, 7)
    for i in range(2):
        for j in range(3):
            assert_equal_to(1e-15, angles[i, j], amplitude_angles(vectors[i, j]))
    assert amplitude_angles(torch.empty(0, 8)).shape == (0, 7)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), seeds)
def test_pennylane_makes_the_same_state(n_qubits, seed):
    state = random_state(n_qubits, seed=seed, dtype=torch.float64)
    circuit = amplitude_preparation(n_qubits)
    ours = pennylane_state(to_pennylane(circuit, amplitude_angles(state)), n_qubits)
    theirs = qml.MottonenStatePreparation(state.numpy(), wires=range(n_qubits))
    assert_equal_to(EXACT, ours, state.to(torch.complex128))
    assert_equal_to(EXACT, ours, pennylane_state(theirs.decomposition(), n_qubits))


# --- The circuit -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_qubits", range(1, 9))
def test_how_many_gates_it_takes(n_qubits):
    circuit = amplitude_preparation(n_qubits)
    labels = [gate.label for gate in circuit.gates]
    assert labels.count("RY") == len(circuit.parameters) == 2**n_qubits - 1
    assert labels.count("CX") == len(labels) - labels.count("RY") == 2**n_qubits - 2
    assert decompose(circuit) == circuit


def test_names_of_its_angles():
    assert amplitude_preparation(2).parameters == ("amp0", "amp1", "amp2")
    assert amplitude_preparation(2, prefix="x").parameters == ("x0", "x1", "x2")


def test_two_qubits_by_hand():
    expected = Circuit(2).ry(0, "amp0").ry(1, "amp1").cnot(0, 1).ry(1, "amp2").cnot(0, 1)
    assert amplitude_preparation(2) == expected


# --- Gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4])
def test_gradient_of_the_angles(n_qubits):
    state = random_state(n_qubits, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(amplitude_angles, state)


@pytest.mark.parametrize("n_qubits", [1, 3])
def test_gradient_of_the_state_is_that_of_the_encoding(n_qubits):
    vector = (2 * random_state(n_qubits, dtype=torch.float64)).requires_grad_()
    jacobian = torch.autograd.functional.jacobian
    assert_equal_to(EXACT, jacobian(prepared, vector), jacobian(amplitude_encode, vector))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), seeds)
def test_gradients_are_finite_at_zeros(n_qubits, seed):
    vector = vector_with_zeros(n_qubits, seed).requires_grad_()
    weights = random_state(n_qubits, seed=seed, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(prepared(vector) @ weights, vector)
    assert gradient.isfinite().all()
