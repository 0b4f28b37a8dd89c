"""Autograd through the simulator agrees with finite differences and parameter-shift rules."""

import math

import pytest
import torch

from ketformer.quantum import (
    Circuit,
    PauliStrings,
    amplitude_encode,
    apply,
    cnot_ring,
    entangling_ansatz,
    overlap,
    pauli_expectations,
    run,
    unitary,
)

from .helpers import assert_equal_to, random_angles, random_state

# Every gate, one and two controls, a name used twice, and a fixed angle.
EVERYTHING = (
    Circuit(3)
    .h(0)
    .ry(0, "a")
    .rx(1, "b")
    .rz(2, "c")
    .then(cnot_ring(3))
    .y(2)
    .z(1)
    .then(Circuit(1).ry(0, "a").rx(0, "d").rz(0, 0.7).controlled(1), [2, 0])
    .then(Circuit(1).rx(0, "e").controlled(1).controlled(2))
)
STRINGS = PauliStrings(("ZII", "XYZ", "IYY", "YII", "XXI"))


def test_gradient_of_run():
    angles = random_angles(EVERYTHING, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: run(EVERYTHING, t), angles)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradient_of_apply_in_angles_and_state(dtype):
    angles = random_angles(EVERYTHING, 2).requires_grad_()
    state = random_state(3, 2, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda t, s: apply(EVERYTHING, s, t), (angles, state))


def test_gradient_of_unitary():
    angles = random_angles(EVERYTHING).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: unitary(EVERYTHING, t), angles)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradient_of_expectations(dtype):
    state = random_state(3, 2, dtype=dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: pauli_expectations(s, STRINGS), state)


def test_gradient_of_amplitude_encoding():
    features = 5 * torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).double()
    assert torch.autograd.gradcheck(amplitude_encode, features.requires_grad_())


def test_gradient_from_features_and_angles_to_expectations():
    circuit = entangling_ansatz(3)
    features = torch.randn(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angles = random_angles(circuit)

    def measured(features, angles):
        return pauli_expectations(apply(circuit, amplitude_encode(features), angles), STRINGS)

    inputs = (features.requires_grad_(), angles.requires_grad_())
    assert torch.autograd.gradcheck(measured, inputs)


def shifted(function, angles, shift):
    """``function`` at ``angles`` with each angle shifted in turn: ``[..., P]``."""
    shifts = shift * torch.eye(len(angles), dtype=angles.dtype)
    return function(angles + shifts).movedim(0, -1)


@pytest.mark.parametrize("n_qubits", [1, 2, 4])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_textbook_shift_rule_of_an_expectation(n_qubits, layers):
    """An angle of the ansatz enters an expectation with frequency 1."""
    circuit = entangling_ansatz(n_qubits, layers)
    strings = PauliStrings(("Z" + "I" * (n_qubits - 1), "X" * n_qubits, "Y" * n_qubits))

    def expectations(angles):
        return pauli_expectations(run(circuit, angles), strings)

    angles = random_angles(circuit)
    autograd = torch.autograd.functional.jacobian(expectations, angles)
    quarter = math.pi / 2
    rule = (shifted(expectations, angles, quarter) - shifted(expectations, angles, -quarter)) / 2
    assert autograd.abs().max() > 0.01
    assert_equal_to(1e-10, rule, autograd)


def test_the_shift_rule_of_an_overlap_has_half_the_frequency():
    """Re<q|k> = A cos(t/2) + B sin(t/2), so its slope is [f(t + pi) - f(t - pi)] / 4."""
    circuit = Circuit(3)
    for qubit in range(3):
        circuit = circuit.ry(qubit, f"t{qubit}")
    circuit = circuit.then(cnot_ring(3)).ry(0, "t3")
    bra = random_state(3, dtype=torch.float64)

    def score(angles):
        return overlap(bra, run(circuit, angles))

    angles = random_angles(circuit)
    autograd = torch.autograd.functional.jacobian(score, angles)
    rule = (shifted(score, angles, math.pi) - shifted(score, angles, -math.pi)) / 4
    assert autograd.abs().max() > 0.01
    assert_equal_to(1e-10, rule, autograd)
