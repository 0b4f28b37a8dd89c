"""The ancilla of a Hadamard test shows the overlap of two circuits' states."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import (
    Angle,
    Circuit,
    PauliStrings,
    amplitude_angles,
    amplitude_preparation,
    decompose,
    entangling_ansatz,
    hadamard_test,
    overlap,
    pauli_expectations,
    rotation_ring_ansatz,
    run,
)
from ketformer.quantum.hadamard import BRA, KET

from .helpers import assert_equal_to, circuits, random_angles, random_state, seeds

EXACT = 1e-12  # float64


def seen(test, bra, bra_angles, ket, ket_angles):
    """<Z> of the ancilla, with the angles assigned by name."""
    columns = dict(zip(bra.renamed(BRA).parameters, bra_angles.unbind(-1), strict=True))
    columns |= zip(ket.renamed(KET).parameters, ket_angles.unbind(-1), strict=True)
    ancilla = PauliStrings(("I" * bra.n_qubits + "Z",))
    batch = torch.broadcast_shapes(bra_angles.shape[:-1], ket_angles.shape[:-1])
    angles = torch.empty(*batch, len(test.parameters), dtype=torch.float64)
    for i, name in enumerate(test.parameters):
        angles[..., i] = columns[name]
    return pauli_expectations(run(test, angles), ancilla)[..., 0]


def assert_shows_the_overlap(test, bra, ket, seed=0):
    a, b = random_angles(bra, seed=seed), random_angles(ket, seed=seed + 1)
    expected = overlap(run(bra, a), run(ket, b)).real
    assert_equal_to(EXACT, seen(test, bra, a, ket, b), expected)


def widest(circuit):
    return max((len(gate.qubits) for gate in circuit.gates), default=0)


@st.composite
def pairs_of_one_form(draw, **options):
    """Two circuits that differ only in their angles."""
    bra = draw(circuits(**options))
    number = st.floats(-7, 7).map(Angle)
    gates = [
        replace(gate, angle=draw(st.one_of(number, st.just(gate.angle)))) if gate.angle else gate
        for gate in bra.gates
    ]
    return bra, Circuit(bra.n_qubits, tuple(gates))


# --- Circuits of one form ----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(pairs_of_one_form(max_qubits=4), seeds)
def test_overlap_of_circuits_that_differ_in_their_angles(pair, seed):
    assert_shows_the_overlap(hadamard_test(*pair), *pair, seed=seed)


@settings(max_examples=40, deadline=None)
@given(pairs_of_one_form(max_qubits=4), seeds)
def test_native_circuits_need_no_gate_on_more_than_two_qubits(pair, seed):
    bra, ket = (decompose(circuit) for circuit in pair)
    test = hadamard_test(bra, ket)
    assert widest(test) <= 2
    assert_shows_the_overlap(test, bra, ket, seed=seed)


@pytest.mark.parametrize("n_qubits", [1, 2, 4])
def test_each_pair_of_rotations_costs_two_cnots(n_qubits):
    circuit = rotation_ring_ansatz(n_qubits, layers=2)
    test = hadamard_test(circuit, circuit)
    assert {gate.label for gate in test.gates} <= {"H", "RY", "CX"}
    to_ancilla = [g for g in test.gates if g.controls == (n_qubits,)]
    assert len(to_ancilla) == 2 * len(circuit.parameters)
    assert_shows_the_overlap(test, circuit, circuit)


def test_a_rotation_by_hand():
    test = hadamard_test(Circuit(1).ry(0, "a"), Circuit(1).ry(0, "b"))
    bra, ket = (Angle("bra_a", 0.5), Angle("ket_b", 0.5))
    assert [(g.label, g.qubits, g.angle) for g in test.gates] == [
        ("H", (1,), None),
        ("RY", (0,), bra),
        ("RY", (0,), ket),
        ("CX", (1, 0), None),
        ("RY", (0,), bra),
        ("RY", (0,), ket.times(-1)),
        ("CX", (1, 0), None),
        ("H", (1,), None),
    ]


def test_gates_that_both_share_are_not_controlled_and_the_last_ones_left_out():
    shared = Circuit(2).h(0).ry(1, 0.3).cnot(0, 1)
    bra, ket = shared.rz(0, "a").then(shared), shared.rz(0, 0.2).then(shared)
    test = hadamard_test(bra, ket)
    assert [g.label for g in test.gates[1:4]] == ["H", "RY", "CX"]
    assert len(test.gates) == 1 + 3 + 6 + 1
    assert_shows_the_overlap(test, bra, ket)


def test_equal_circuits_without_angles_overlap_fully():
    circuit = Circuit(2).h(0).cnot(0, 1)
    test = hadamard_test(circuit, circuit)
    assert_equal_to(EXACT, run(test, torch.empty(0, dtype=torch.float64)), torch.eye(8)[0])


def test_batches_of_prepared_states():
    n_qubits = 3
    circuit = amplitude_preparation(n_qubits)
    bra, ket = (random_state(n_qubits, 5, seed=s, dtype=torch.float64) for s in (0, 1))
    angles = amplitude_angles(bra)[:, None], amplitude_angles(ket)[None]
    actual = seen(hadamard_test(circuit, circuit), circuit, angles[0], circuit, angles[1])
    assert_equal_to(EXACT, actual, bra @ ket.mT)


# --- Circuits of different form ----------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(circuits(max_qubits=3, max_gates=8), circuits(max_qubits=3, max_gates=8), seeds)
def test_overlap_of_any_two_circuits(one, other, seed):
    n_qubits = max(one.n_qubits, other.n_qubits)
    bra, ket = Circuit(n_qubits, one.gates), Circuit(n_qubits, other.gates)
    assert_shows_the_overlap(hadamard_test(bra, ket), bra, ket, seed=seed)


def test_states_with_a_complex_overlap_show_its_real_part():
    bra, ket = entangling_ansatz(2).rz(0, "z"), Circuit(2).h(0).rz(0, "a").rx(1, "b")
    a, b = random_angles(bra), random_angles(ket, seed=1)
    inner = overlap(run(bra, a), run(ket, b))
    assert inner.imag.abs() > 0.1
    assert_equal_to(EXACT, seen(hadamard_test(bra, ket), bra, a, ket, b), inner.real)


def test_a_name_that_both_use_stands_for_two_angles():
    circuit = Circuit(1).ry(0, "t")
    assert hadamard_test(circuit, circuit).parameters == ("bra_t", "ket_t")


def test_circuits_on_different_registers_are_refused():
    with pytest.raises(ValueError, match="overlap of 2 and 3 qubits is not defined"):
        hadamard_test(Circuit(2), Circuit(3))
