"""Product states of RY, and circuits that start with one: a formula instead of single gates."""

import pennylane as qml
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import Circuit, apply, cnot_ring, rotation_ring_ansatz, run, zero_state
from ketformer.quantum.product import product_state

from .helpers import (
    assert_equal_to,
    circuits,
    pennylane_state,
    random_angles,
    seeds,
    to_pennylane,
)

EXACT = 1e-12  # float64
SINGLE = 1e-6  # float32


def rotations(n_qubits, names=None):
    """RY on each qubit, in order."""
    circuit = Circuit(n_qubits)
    for qubit in range(n_qubits):
        circuit = circuit.ry(qubit, names[qubit] if names else f"t{qubit}")
    return circuit


def gate_by_gate(circuit, angles):
    """The state prepared from |0…0> gate by gate, without any shortcut."""
    start = zero_state(circuit.n_qubits, angles.dtype)
    return apply(circuit, start.expand(*angles.shape[:-1], -1), angles)


# --- The state ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_qubits", [1, 2, 3, 5])
def test_a_product_state_is_that_of_pennylane_and_of_single_gates(n_qubits):
    circuit = rotations(n_qubits)
    angles = random_angles(circuit, 4)
    states = product_state(angles)
    assert states.shape == (4, 2**n_qubits)
    assert states.dtype is torch.float64
    assert_equal_to(EXACT, states, gate_by_gate(circuit, angles))
    for state, row in zip(states, angles, strict=True):
        by_pennylane = pennylane_state([qml.RY(float(t), q) for q, t in enumerate(row)], n_qubits)
        assert_equal_to(EXACT, state.to(torch.complex128), by_pennylane)


def test_qubit_0_is_the_most_significant_bit():
    """RY(pi)|0> = |1>, so flipping qubits 0 and 1 of three gives |110>, index 6."""
    state = product_state(torch.tensor([torch.pi, torch.pi, 0.0], dtype=torch.float64))
    assert_equal_to(EXACT, state, torch.eye(8, dtype=torch.float64)[6])


def test_one_qubit_is_cosine_and_sine_of_half_the_angle():
    angles = random_angles(rotations(1), 5)
    expected = torch.cat([(angles / 2).cos(), (angles / 2).sin()], dim=-1)
    assert torch.equal(product_state(angles), expected)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3), (0,)], ids=str)
def test_leading_dimensions_are_a_batch(batch):
    angles = random_angles(rotations(3), *batch)
    states = product_state(angles)
    assert states.shape == (*batch, 8)
    alone = [product_state(row) for row in angles.reshape(-1, 3)]
    expected = torch.stack(alone).reshape(states.shape) if alone else states
    assert_equal_to(EXACT, states, expected)


def test_angles_need_not_be_contiguous():
    angles = random_angles(rotations(6), 4)
    strided = angles.mT[::2].mT
    assert not strided.is_contiguous()
    assert torch.equal(product_state(strided), product_state(strided.contiguous()))


def test_single_precision_stays_single_and_agrees():
    angles = random_angles(rotations(4), 5)
    single = product_state(angles.float())
    assert single.dtype is torch.float32
    assert_equal_to(SINGLE, single, product_state(angles.float().double()))


# --- Its derivatives ---------------------------------------------------------------------------


@pytest.mark.parametrize(("n_qubits", "batch"), [(1, ()), (1, (3,)), (2, (2,)), (4, (2, 2))])
def test_first_and_second_derivatives_equal_finite_differences(n_qubits, batch):
    angles = random_angles(rotations(n_qubits), *batch).requires_grad_()
    assert torch.autograd.gradcheck(product_state, angles)
    assert torch.autograd.gradgradcheck(product_state, angles)


def test_the_gradient_is_that_of_single_gates():
    circuit = rotations(4)
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = []
    for function in (product_state, lambda t: gate_by_gate(circuit, t)):
        angles = random_angles(circuit, 3).requires_grad_()
        (weight * function(angles)).sum().backward()
        gradients.append(angles.grad)
    assert gradients[1].abs().min() > 1e-3
    assert_equal_to(EXACT, *gradients)


def test_the_gradient_of_a_shared_angle_is_summed():
    """Expanded angles: one set serves a batch of three."""
    shared = random_angles(rotations(3)).requires_grad_()
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (weight * product_state(shared.expand(3, -1))).sum().backward()
    alone = shared.detach().clone().requires_grad_()
    (weight.sum(0) * product_state(alone)).sum().backward()
    assert alone.grad.abs().min() > 1e-3
    assert_equal_to(EXACT, shared.grad, alone.grad)


def test_vmap_is_the_batch_and_differentiates():
    angles = random_angles(rotations(3), 4)
    assert_equal_to(EXACT, torch.func.vmap(product_state)(angles), product_state(angles))
    across = torch.func.vmap(product_state, in_dims=1)(angles.mT)
    assert_equal_to(EXACT, across, product_state(angles))
    weight = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = torch.func.vmap(torch.func.grad(lambda t: product_state(t) @ weight))(angles)
    together = torch.func.grad(lambda t: (product_state(t) @ weight).sum())(angles)
    assert together.abs().max() > 0.1
    assert_equal_to(EXACT, each, together)


# --- Circuits that begin with one --------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(circuits(max_qubits=4), st.booleans(), seeds)
def test_run_from_a_product_equals_every_gate_from_zero(circuit, repeated, seed):
    """Names of the first rotations occur again later: circuits() draws them from a, b, c."""
    n = circuit.n_qubits
    names = ["a", "b", "a", "c"] if repeated else [f"t{q}" for q in range(n)]
    whole = rotations(n, names[:n]).then(circuit)
    angles = random_angles(whole, 2, seed=seed)
    state = run(whole, angles)
    assert state.is_complex() is not whole.is_real
    assert_equal_to(EXACT, state, gate_by_gate(whole, angles))
    expected = pennylane_state(to_pennylane(whole, angles[1]), n)
    assert_equal_to(EXACT, state[1].to(torch.complex128), expected)


@pytest.mark.parametrize(
    "circuit",
    [
        Circuit(2).ry(1, "a").ry(0, "b").cnot(0, 1),  # not in order
        Circuit(2).ry(0, "a").ry(1, 0.4).ry(0, "b"),  # a fixed angle
        Circuit(2).ry(0, "a").ry(0, "b").ry(1, "c"),  # a qubit twice
        Circuit(2).ry(0, "a").rx(1, "b").ry(1, "c"),  # another axis
        Circuit(2).ry(0, "a").then(Circuit(1).ry(0, "b").controlled(1), [1, 0]),  # a control
        Circuit(3).ry(0, "a").ry(1, "b"),  # a qubit without rotation
        Circuit(2).h(0).ry(0, "a").ry(1, "b"),  # another gate before
        Circuit(2).ry(0, "a").ry(1, "a"),  # one angle for both
        rotations(2),  # nothing after
    ],
    ids=str,
)
def test_what_only_looks_like_a_product_is_run_as_it_stands(circuit):
    angles = random_angles(circuit, 2)
    expected = gate_by_gate(circuit, angles)
    assert_equal_to(EXACT, run(circuit, angles), expected)
    by_pennylane = pennylane_state(to_pennylane(circuit, angles[0]), circuit.n_qubits)
    assert_equal_to(EXACT, run(circuit, angles)[0].to(torch.complex128), by_pennylane)


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_run_from_a_product_has_the_gradients_of_every_gate(batch):
    circuit = rotations(3).then(cnot_ring(3)).ry(1, "t0").ry(2, "late")
    angles = random_angles(circuit, *batch).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: run(circuit, t), angles)
    weight = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (fast,) = torch.autograd.grad((run(circuit, angles) @ weight).sum(), angles)
    (slow,) = torch.autograd.grad((gate_by_gate(circuit, angles) @ weight).sum(), angles)
    assert slow.abs().max() > 0.01
    assert_equal_to(EXACT, fast, slow)


# --- The ansatz of arXiv 2502.19214, written out by hand ----------------------------------------


def rotation_rings_by_hand(n_qubits, layers, angles):
    t = iter(map(float, angles))
    operations = []
    for _ in range(layers):
        operations += [qml.RY(next(t), q) for q in range(n_qubits)]
        if n_qubits > 1:
            operations += [qml.CNOT([q, (q + 1) % n_qubits]) for q in range(n_qubits)]
    return operations


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5])
def test_rotation_ring_ansatz_by_hand(n_qubits, layers):
    circuit = rotation_ring_ansatz(n_qubits, layers)
    assert circuit.parameters == tuple(f"t{i}" for i in range(n_qubits * layers))
    assert circuit.is_real
    angles = random_angles(circuit, 2)
    for state, row in zip(run(circuit, angles), angles, strict=True):
        by_hand = pennylane_state(rotation_rings_by_hand(n_qubits, layers, row), n_qubits)
        assert_equal_to(EXACT, state.to(torch.complex128), by_hand)


def test_the_angles_of_a_rotation_ring_ansatz_take_another_name():
    assert rotation_ring_ansatz(2, 1, prefix="q").parameters == ("q0", "q1")
