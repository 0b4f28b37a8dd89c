"""Circuits decomposed into one-qubit gates and CNOT stay the same circuits."""

import pytest
import torch
from hypothesis import given, settings

from ketformer.quantum import Angle, Circuit, Gate, cnot_ring, decompose, unitary
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS
from ketformer.quantum.gates import GATES

from .helpers import (
    ANGLED,
    assert_equal_to,
    assert_equal_up_to_phase,
    circuits,
    pennylane_unitary,
    random_angles,
    seeds,
    to_pennylane,
)

EXACT = 1e-12  # float64


def one_gate(name, n_controls):
    angle = Angle("a", -0.7) if name in ANGLED else None
    second = 4 if GATES[name].targets == 2 else None
    return Circuit(5, (Gate(name, 1, (3, 0, 2)[:n_controls], angle, second),))


def is_native(gate):
    return gate.label in (*ROTATIONS, *FIXED_GATES, "CX")


def n_cnots(circuit):
    return sum(gate.label == "CX" for gate in circuit.gates)


@settings(max_examples=60, deadline=None)
@given(circuits(max_qubits=5), seeds)
def test_the_same_circuit_in_native_gates(circuit, seed):
    native = decompose(circuit)
    assert all(is_native(gate) for gate in native.gates)
    assert native.parameters == circuit.parameters
    angles = random_angles(circuit, seed=seed)
    expected = pennylane_unitary(to_pennylane(circuit, angles), circuit.n_qubits)
    assert_equal_up_to_phase(EXACT, unitary(native, angles), expected)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("n_controls", [0, 1, 2, 3])
def test_a_phase_that_controls_see_is_kept(name, n_controls):
    circuit = one_gate(name, n_controls)
    angles = random_angles(circuit)
    expected = unitary(circuit, angles)
    assert_equal_up_to_phase(EXACT, unitary(decompose(circuit), angles), expected)


@pytest.mark.parametrize("name", ROTATIONS + FIXED_GATES)
@pytest.mark.parametrize("n_controls", [0, 1])
def test_with_one_control_not_even_the_phase_changes(name, n_controls):
    circuit = one_gate(name, n_controls)
    angles = random_angles(circuit)
    actual, expected = (
        unitary(c, angles).to(torch.complex128) for c in (decompose(circuit), circuit)
    )
    assert_equal_to(EXACT, actual, expected)


@settings(max_examples=30, deadline=None)
@given(circuits())
def test_native_circuits_stay_as_they_are(circuit):
    native = decompose(circuit)
    assert decompose(native) == native


def test_the_order_of_gates_is_kept():
    circuit = Circuit(3).h(2).then(cnot_ring(3)).ry(1, "a").z(0).rx(2, 0.3)
    assert decompose(circuit) == circuit


@pytest.mark.parametrize(
    ("name", "n_controls", "n_expected"),
    [(name, 0, 0) for name in ROTATIONS + FIXED_GATES]
    + [(name, 1, 2) for name in ROTATIONS]
    + [(name, 1, 1) for name in FIXED_GATES]
    + [(name, 2, 12) for name in ROTATIONS]
    + [(name, 2, 6) for name in FIXED_GATES]
    + [(name, 0, 0) for name in ("P", "S", "SDG", "T", "TDG", "SX", "SXDG")]
    + [(name, 1, 2) for name in ("P", "S", "TDG", "SX")]
    + [("SWAP", 0, 3), ("SWAP", 1, 8), ("RXX", 0, 2), ("RYY", 0, 2), ("RZZ", 0, 2), ("RZZ", 1, 4)],
)
def test_how_many_cnots_a_gate_costs(name, n_controls, n_expected):
    assert n_cnots(decompose(one_gate(name, n_controls))) == n_expected


@pytest.mark.parametrize("name", ["P", "S", "SDG", "T", "TDG", "SX", "SXDG"])
def test_every_other_fixed_gate_and_phase_is_one_rotation(name):
    """So that the noise of a one-qubit gate follows it once."""
    assert len(decompose(one_gate(name, 0)).gates) == 1


@pytest.mark.parametrize("name", ["RY", "RZ"])
def test_a_controlled_rotation_is_two_half_rotations(name):
    rotations = [g for g in decompose(one_gate(name, 1)).gates if not g.controls]
    assert [(g.name, g.target, g.angle) for g in rotations] == [
        (name, 1, Angle("a", -0.35)),
        (name, 1, Angle("a", 0.35)),
    ]
