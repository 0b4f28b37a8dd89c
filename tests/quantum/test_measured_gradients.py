"""Gradient rules based only on outcomes: exact where they claim to be, unbiased elsewhere."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.quantum import (
    Angle,
    Circuit,
    Experiment,
    Gate,
    PauliStrings,
    amplitude_preparation,
    decompose,
    entangling_ansatz,
    hadamard_test,
    pauli_expectations,
    rotation_ring_ansatz,
    run,
)
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import (
    outcomes_of,
    parameter_shift,
    shift_rule,
    shifted_circuits,
    spsa,
)

from .helpers import assert_equal_to, circuits, random_angles, seeds

EXACT = 1e-9  # the coefficients of rules with many frequencies cost some digits


def strings_on(n_qubits):
    letters = "XYZ" * n_qubits
    return PauliStrings((letters[:n_qubits], "I" * (n_qubits - 1) + "Z"))


def experiment(circuit, *batch, seed=0, strings=None, frequencies=None):
    angles = random_angles(circuit, *batch, seed=seed)
    return Experiment(circuit, angles, strings or strings_on(circuit.n_qubits), frequencies)


def autograd_jacobian(asked):
    """The Jacobian ``[B, S, P]`` by autograd through the simulator."""

    def outcomes(angles):
        return pauli_expectations(run(asked.circuit, angles), asked.strings)

    rows = [torch.autograd.functional.jacobian(outcomes, row) for row in asked.angles]
    return torch.stack(rows)


exactly = outcomes_of(open_backend("torch"))


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=3, max_gates=8), seeds)
def test_parameter_shift_is_autograd_for_any_circuit(circuit, seed):
    asked = experiment(circuit, 2, seed=seed)
    assert_equal_to(EXACT, parameter_shift(asked, exactly), autograd_jacobian(asked))


@pytest.mark.parametrize(
    "circuit",
    [
        amplitude_preparation(3).then(entangling_ansatz(3, 2)),
        entangling_ansatz(4),
        hadamard_test(rotation_ring_ansatz(2, 2), rotation_ring_ansatz(2, 2)),
        decompose(Circuit(3, (Gate("RX", 2, (0, 1), Angle("a")), Gate("RZ", 0, (), Angle("a"))))),
    ],
    ids=["qisa_a", "ansatz", "overlap", "decomposed"],
)
def test_parameter_shift_of_the_mechanisms(circuit):
    asked = experiment(circuit, 3)
    assert_equal_to(EXACT, parameter_shift(asked, exactly), autograd_jacobian(asked))


def test_an_overlap_needs_two_circuits_for_each_angle():
    circuit = hadamard_test(rotation_ring_ansatz(3), rotation_ring_ansatz(3))
    ancilla = PauliStrings(("IIIZ",))
    backend = open_backend("torch")
    asked = experiment(circuit, 4, strings=ancilla, frequencies=(0.5,))
    found = parameter_shift(asked, outcomes_of(backend))
    assert_equal_to(1e-12, found, autograd_jacobian(asked))
    assert backend.circuits_run == 4 * 2 * len(circuit.parameters)


def test_the_rules_by_hand():
    for frequency, shift, coefficient in ((1.0, math.pi / 2, 0.5), (0.5, math.pi, 0.25)):
        ((s,), (c,)) = shift_rule((frequency,))
        assert (s, c) == (pytest.approx(shift), pytest.approx(coefficient))
    # For a controlled rotation, the four-term rule of arXiv 2104.05695.
    shifts, coefficients = shift_rule((0.5, 1.0))
    assert shifts == pytest.approx((math.pi / 2, 3 * math.pi / 2))
    root = math.sqrt(2)
    assert coefficients == pytest.approx(((root + 1) / (4 * root), -(root - 1) / (4 * root)))


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 6), min_size=1, max_size=4), seeds)
def test_a_rule_differentiates_every_wave_of_its_frequencies(halves, seed):
    frequencies = tuple(sorted(h / 2 for h in halves))
    try:
        shifts, coefficients = shift_rule(frequencies)
    except ValueError:
        assert frequencies != tuple(frequencies[0] * (i + 1) for i in range(len(frequencies)))
        return
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, len(frequencies), generator=generator, dtype=torch.float64)
    w = torch.tensor(frequencies, dtype=torch.float64)

    def f(t):
        return float((a * torch.cos(w * t) + b * torch.sin(w * t)).sum()) + 3.0

    slope = float((w * (b * torch.cos(w * 0.4) - a * torch.sin(w * 0.4))).sum())
    found = sum(c * (f(0.4 + s) - f(0.4 - s)) for s, c in zip(shifts, coefficients, strict=True))
    assert found == pytest.approx(slope, abs=1e-7)


def test_every_gate_of_an_angle_is_shifted_apart():
    circuit = Circuit(2).rx(0, "a").ry(1, "b").rz(0, "a").cnot(0, 1)
    circuit = circuit.then(Circuit(1).ry(0, "c").controlled(1), (0, 1))
    backend = open_backend("torch")
    asked = experiment(circuit, 1, strings=PauliStrings(("XZ",)))
    parameter_shift(asked, outcomes_of(backend))
    # Two for each of the three plain rotations, four for the controlled one.
    assert backend.circuits_run == shifted_circuits(asked) == 10


@pytest.mark.parametrize("frequencies", [(), (0.0, 1.0), (-1.0,)])
def test_a_rule_without_positive_frequencies_is_refused(frequencies):
    with pytest.raises(ValueError, match="positive frequencies"):
        shift_rule(frequencies)


def test_spsa_is_unbiased():
    """The mean of 20,000 estimates is within four standard errors for every angle."""
    asked = experiment(entangling_ansatz(2), 1)
    repeated = Experiment(asked.circuit, asked.angles.expand(20_000, -1), asked.strings)
    generator = torch.Generator().manual_seed(3)
    estimates = spsa(repeated, exactly, epsilon=1e-3, generator=generator)
    error = estimates.std(0) / math.sqrt(len(estimates))
    truth = autograd_jacobian(asked)[0]
    assert ((estimates.mean(0) - truth).abs() <= 4 * error + 1e-6).all()
    assert error.max() < 0.02  # otherwise the interval would contain anything


def test_spsa_costs_two_circuits_whatever_the_number_of_angles():
    backend = open_backend("torch")
    spsa(experiment(entangling_ansatz(3), 5, strings=PauliStrings(("IIZ",))), outcomes_of(backend))
    assert backend.circuits_run == 10


def test_parameter_shift_of_shots_is_unbiased():
    asked = experiment(entangling_ansatz(2), 1)
    backend = open_backend("shots", shots=40_000, seed=5)
    found = parameter_shift(asked, outcomes_of(backend))
    # Two outcomes of variance at most 1, halved: a standard error of 0.5 * sqrt(2 / 40,000).
    assert (found - autograd_jacobian(asked)).abs().max() < 5 * 0.5 * math.sqrt(2 / 40_000)


@pytest.mark.parametrize("rule", ["parameter_shift", "adjoint"])
def test_autograd_passes_through_outcomes(rule):
    circuit = entangling_ansatz(2)
    strings, angles = strings_on(2), random_angles(circuit, 2, 3).requires_grad_()
    backend = open_backend("pennylane" if rule == "adjoint" else "torch")
    out = outcomes_of(backend, rule)(Experiment(circuit, 2 * angles, strings))
    (out.square().sum()).backward()
    found, angles.grad = angles.grad, None
    pauli_expectations(run(circuit, 2 * angles), strings).square().sum().backward()
    assert_equal_to(1e-10, found, angles.grad)


def test_rules_that_are_not_there():
    with pytest.raises(KetformerError, match="torch has no adjoint"):
        outcomes_of(open_backend("torch"), "adjoint")
    with pytest.raises(KetformerError, match="parameter_shift, spsa, adjoint"):
        outcomes_of(open_backend("torch"), "newton")
