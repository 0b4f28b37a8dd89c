"""Circuits are immutable values, and simulating them is linear algebra."""

import cmath
import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings

from ketformer.quantum import (
    Angle,
    Circuit,
    Gate,
    apply,
    cnot_ring,
    entangling_ansatz,
    overlap,
    run,
    unitary,
    zero_state,
)

from .helpers import REAL_GATES, assert_equal_to, circuits, random_angles, random_state, seeds

# --- The value ---------------------------------------------------------------------------------


def test_builder_methods_append_one_gate_each():
    circuit = Circuit(3).rx(0, "a").ry(1, 0.5).rz(2, "b")
    circuit = circuit.h(0).x(1).y(2).z(0).cnot(2, 1)
    assert circuit.gates == (
        Gate("RX", 0, angle=Angle("a")),
        Gate("RY", 1, angle=Angle(0.5)),
        Gate("RZ", 2, angle=Angle("b")),
        Gate("H", 0),
        Gate("X", 1),
        Gate("Y", 2),
        Gate("Z", 0),
        Gate("X", 1, controls=(2,)),
    )


def test_builder_methods_of_the_other_gates():
    circuit = Circuit(2).p(0, "a").s(0).sdg(1).t(0).tdg(1).sx(0).sxdg(1).cz(0, 1)
    circuit = circuit.crx(0, 1, 1.0).cry(1, 0, "b").crz(0, 1, Angle("b", 2, 0.5))
    circuit = circuit.swap(1, 0).rxx(0, 1, "a").ryy(0, 1, 0.3).rzz(1, 0, "c")
    assert circuit.gates == (
        Gate("P", 0, angle=Angle("a")),
        *(Gate(name, i % 2) for i, name in enumerate(("S", "SDG", "T", "TDG", "SX", "SXDG"))),
        Gate("Z", 1, (0,)),
        Gate("RX", 1, (0,), Angle(1.0)),
        Gate("RY", 0, (1,), Angle("b")),
        Gate("RZ", 1, (0,), Angle("b", 2, 0.5)),
        Gate("SWAP", 1, second=0),
        Gate("RXX", 0, angle=Angle("a"), second=1),
        Gate("RYY", 0, angle=Angle(0.3), second=1),
        Gate("RZZ", 1, angle=Angle("c"), second=0),
    )


def test_u_is_openqasms():
    theta, phi, lam = 0.3, 1.1, -0.7
    cos, sin = math.cos(theta / 2), math.sin(theta / 2)
    expected = torch.tensor(
        [
            [cos, -cmath.exp(1j * lam) * sin],
            [cmath.exp(1j * phi) * sin, cmath.exp(1j * (phi + lam)) * cos],
        ],
        dtype=torch.complex128,
    )
    angles = torch.tensor([theta, phi, lam], dtype=torch.float64)
    assert_equal_to(1e-12, unitary(Circuit(1).u(0, theta, phi, lam), angles), expected)


def test_a_global_phase_is_seen_by_a_control():
    angles = torch.tensor([0.7], dtype=torch.float64)
    phased = Circuit(2).phase(Angle("a", 2, 0.1))
    assert_equal_to(1e-12, unitary(phased, angles), cmath.exp(1.5j) * torch.eye(4).double())
    expected = torch.diag(torch.tensor([1, cmath.exp(1.5j)] * 4, dtype=torch.complex128))
    assert_equal_to(1e-12, unitary(phased.controlled(2), angles), expected)


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_a_circuit_after_its_inverse_is_the_identity(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    whole = circuit.then(circuit.inverse())
    found = unitary(whole, angles).to(torch.complex128)
    assert_equal_to(1e-12, found, torch.eye(2**circuit.n_qubits))


def test_building_leaves_the_original_as_it_was():
    bell = Circuit(2).h(0).cnot(0, 1)
    bell.ry(1, "theta")
    bell.controlled(2)
    bell.then(bell)
    assert bell == Circuit(2).h(0).cnot(0, 1)


@pytest.mark.parametrize(
    ("value", "attribute"),
    [(Circuit(2), "n_qubits"), (Gate("H", 0), "target"), (Angle("a"), "value")],
    ids=["circuit", "gate", "angle"],
)
def test_values_cannot_be_changed(value, attribute):
    with pytest.raises(FrozenInstanceError):
        setattr(value, attribute, 1)


def test_equal_circuits_are_one_dictionary_key():
    assert {entangling_ansatz(3): "same"}[entangling_ansatz(3)] == "same"


def test_labels_and_qubits_put_controls_first():
    gate = Gate("RY", 2, controls=(0, 1), angle=Angle("a"))
    assert gate.label == "CCRY"
    assert gate.qubits == (0, 1, 2)


def test_parameters_are_in_order_of_first_use():
    circuit = Circuit(2).ry(0, "late").rx(1, "a").rz(0, 0.3).ry(1, "late").rx(0, "early")
    assert circuit.parameters == ("late", "a", "early")
    assert Circuit(1).h(0).ry(0, 0.1).parameters == ()


def test_then_places_the_other_circuit_on_the_given_wires():
    controlled_turn = Circuit(2).cnot(0, 1).ry(1, "a")
    assert Circuit(4).h(0).then(controlled_turn, [3, 1]) == Circuit(4).h(0).cnot(3, 1).ry(1, "a")
    assert Circuit(4).then(controlled_turn) == Circuit(4).cnot(0, 1).ry(1, "a")


def test_controlled_conditions_every_gate_and_grows_the_register():
    circuit = Circuit(2).ry(0, "a").cnot(0, 1).controlled(3)
    assert circuit.n_qubits == 4
    assert circuit.gates == (
        Gate("RY", 0, controls=(3,), angle=Angle("a")),
        Gate("X", 1, controls=(3, 0)),
    )


def test_an_angle_is_its_name_or_number_times_its_factor():
    values = {"a": 3.0, "b": 5.0}
    assert Angle("a").bound(values) == 3
    assert Angle("b", -0.5).bound(values) == -2.5
    assert Angle(1.5, 4.0).bound({}) == 6
    assert Angle("a", 2.0, 0.5).bound(values) == 6.5
    assert Angle(1.5, 4.0, -1.0).bound({}) == 5
    with pytest.raises(KeyError, match="'c'"):
        Angle("c").bound(values)


@pytest.mark.parametrize(
    "angle", [Angle("a"), Angle("a", 0.5, 0.75), Angle(1.5), Angle(1.5, -4.0, 0.5)]
)
@pytest.mark.parametrize("factor", [2.0, -0.25, 0.0])
def test_times_multiplies_what_the_angle_stands_for(angle, factor):
    product = angle.times(factor)
    assert product.is_parameter == angle.is_parameter
    assert product.bound({"a": 3.0}) == factor * angle.bound({"a": 3.0})


def test_angles_multiplied_back_are_equal_again():
    assert Angle("a").times(2).times(0.5) == Angle("a")
    assert Angle(1.5, 4.0).times(0.25) == Angle(1.5)


def test_factors_make_no_parameters_of_their_own():
    gates = (Gate("RX", 0, angle=Angle("a", 2.0)), Gate("RY", 0, angle=Angle("a", -1.0)))
    assert Circuit(1, gates).parameters == ("a",)


def test_renamed_changes_names_only():
    circuit = Circuit(2).h(0).ry(0, "a").rx(1, 0.5).cnot(0, 1).rz(1, "b").ry(1, "a")
    renamed = circuit.renamed("left_")
    assert renamed == Circuit(2).h(0).ry(0, "left_a").rx(1, 0.5).cnot(0, 1).rz(1, "left_b").ry(
        1, "left_a"
    )
    assert Circuit(1, (Gate("RX", 0, angle=Angle("a", 0.5)),)).renamed("x").gates == (
        Gate("RX", 0, angle=Angle("xa", 0.5)),
    )


def test_inverse_turns_back_in_reverse_order():
    circuit = Circuit(2).h(0).ry(0, "a").rz(1, 0.5).cnot(0, 1)
    assert circuit.inverse().gates == (
        Gate("X", 1, controls=(0,)),
        Gate("RZ", 1, angle=Angle(-0.5)),
        Gate("RY", 0, angle=Angle("a", -1.0)),
        Gate("H", 0),
    )
    assert circuit.inverse().inverse() == circuit


@pytest.mark.parametrize("name", ["RX", "RZ", "Y"])
def test_a_complex_gate_makes_the_circuit_complex(name):
    gate = Gate(name, 0, angle=None if name == "Y" else Angle("a"))
    assert not Circuit(1, (gate,)).is_real
    assert Circuit(2).ry(0, "a").h(1).x(0).z(1).cnot(0, 1).is_real


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Circuit(0), "at least one qubit"),
        (lambda: Gate("V", 0), "unknown gate 'V'; known gates: RX"),
        (lambda: Gate("P", 0), "P takes one angle"),
        (lambda: Gate("SWAP", 0), "SWAP acts on two targets"),
        (lambda: Gate("H", 0, second=1), "H acts on one target"),
        (lambda: Circuit(2).swap(1, 1), "qubits must differ"),
        (lambda: Circuit(2).rzz(0, 2, "a"), r"RZZ on qubits \(0, 2\) lies outside 0..1"),
        (lambda: Gate("RX", 0), "RX takes one angle"),
        (lambda: Gate("H", 0, angle=Angle(1.0)), "H takes no angle"),
        (lambda: Circuit(2).cnot(1, 1), "qubits must differ"),
        (lambda: Gate("X", 2, controls=(0, 0)), "qubits must differ"),
        (lambda: Circuit(2).h(2), r"H on qubits \(2,\) lies outside 0..1"),
        (lambda: Circuit(2).cnot(-1, 0), r"CX on qubits \(-1, 0\) lies outside 0..1"),
        (lambda: Circuit(2).h(0).controlled(0), "qubits must differ"),
        (lambda: Circuit(3).then(cnot_ring(2), [0]), "a circuit on 2 qubits was given 1 wires"),
        (lambda: Circuit(2).then(cnot_ring(3)), "lies outside 0..1"),
    ],
)
def test_mistakes_in_a_circuit(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        (lambda: apply(Circuit(2), torch.ones(8)), "8 amplitudes does not fit 2 qubits"),
        (lambda: apply(Circuit(1).ry(0, "a"), torch.ones(2)), "1 parameters, 0 angles"),
        (lambda: run(Circuit(1).ry(0, "a"), torch.ones(3)), "1 parameters, 3 angles"),
    ],
)
def test_mistakes_in_simulating_one(simulate, message):
    with pytest.raises(ValueError, match=message):
        simulate()


# --- The simulation ----------------------------------------------------------------------------


def test_qubit_zero_is_the_most_significant_bit():
    assert run(Circuit(3).x(0), torch.empty(0)).tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert run(Circuit(3).x(2), torch.empty(0)).tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


def test_ry_turns_the_way_the_papers_write_it():
    state = run(Circuit(1).ry(0, "t"), torch.tensor([math.pi / 3], dtype=torch.float64))
    assert_equal_to(1e-15, state, torch.tensor([math.cos(math.pi / 6), 0.5], dtype=torch.float64))


def test_a_controlled_circuit_acts_only_where_the_control_is_one():
    circuit = entangling_ansatz(2)
    angles = random_angles(circuit)
    matrix = unitary(circuit.controlled(2), angles)
    on, off = matrix[1::2, 1::2], matrix[0::2, 0::2]  # qubit 2 is the least significant bit
    assert_equal_to(1e-14, on, unitary(circuit, angles))
    assert torch.equal(off, torch.eye(4, dtype=torch.complex128))
    assert not matrix[0::2, 1::2].any()
    assert not matrix[1::2, 0::2].any()


def test_then_is_a_product_of_matrices():
    first, second = entangling_ansatz(3, prefix="a"), entangling_ansatz(3, prefix="b")
    both = first.then(second)
    angles = random_angles(both)
    a, b = angles.split(len(first.parameters))
    assert_equal_to(1e-13, unitary(both, angles), unitary(second, b) @ unitary(first, a))


@settings(max_examples=40, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_inverse_undoes_the_circuit(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    start = random_state(circuit.n_qubits, seed=seed + 1)
    inverse = circuit.inverse()
    assert set(inverse.parameters) == set(circuit.parameters)
    columns = [circuit.parameters.index(name) for name in inverse.parameters]
    back = apply(inverse, apply(circuit, start, angles), angles[columns])
    assert_equal_to(1e-13, back, start)


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_a_factor_is_the_same_as_a_larger_angle(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    gates = (
        replace(g, angle=Angle(g.angle.bound(values))) if g.angle else g for g in circuit.gates
    )
    fixed = Circuit(circuit.n_qubits, tuple(gates))
    nothing = torch.empty(0, dtype=torch.float64)
    assert_equal_to(1e-13, run(circuit, angles), run(fixed, nothing))


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_names_do_not_matter(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    assert torch.equal(run(circuit.renamed("x"), angles), run(circuit, angles))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_circuits_stay_real_and_complex_ones_do_not(dtype):
    real, turned = Circuit(2).ry(0, "a").cnot(0, 1), Circuit(2).ry(0, "a").rx(1, 0.1)
    angles = torch.ones(1, dtype=dtype)
    assert run(real, angles).dtype is dtype
    assert unitary(real, angles).dtype is dtype
    assert run(turned, angles).dtype is dtype.to_complex()
    assert unitary(turned, angles).dtype is dtype.to_complex()
    assert apply(real, zero_state(2, dtype.to_complex()), angles).dtype is dtype.to_complex()


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4, gates=REAL_GATES), seeds)
def test_real_circuits_are_orthogonal(circuit, seed):
    matrix = unitary(circuit, random_angles(circuit, seed=seed))
    assert matrix.dtype is torch.float64
    assert_equal_to(1e-13, matrix @ matrix.mT, torch.eye(len(matrix)))


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_every_circuit_is_unitary(circuit, seed):
    matrix = unitary(circuit, random_angles(circuit, seed=seed))
    assert_equal_to(1e-13, (matrix @ matrix.mH).to(torch.complex128), torch.eye(len(matrix)))


@settings(max_examples=30, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_one_shared_matrix_equals_the_circuit_on_each_token(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    tokens = random_state(circuit.n_qubits, 2, 3, seed=seed + 1)
    shared = tokens @ unitary(circuit, angles).mT.to(tokens.dtype)
    each = torch.stack(
        [torch.stack([apply(circuit, token, angles) for token in row]) for row in tokens]
    )
    assert_equal_to(1e-13, apply(circuit, tokens, angles), each)
    assert_equal_to(1e-13, shared, each)


def test_batches_of_angles_and_of_states_broadcast():
    circuit = entangling_ansatz(2)
    angles, states = random_angles(circuit, 4, 1), random_state(2, 3)
    both = apply(circuit, states, angles)
    assert both.shape == (4, 3, 4)
    assert unitary(circuit, angles).shape == (4, 1, 4, 4)
    for i in range(4):
        for j in range(3):
            assert_equal_to(1e-14, both[i, j], apply(circuit, states[j], angles[i, 0]))


def test_a_circuit_without_parameters_keeps_the_batch():
    assert run(cnot_ring(2).h(0), torch.empty(5, 0)).shape == (5, 4)
    assert apply(cnot_ring(2), torch.randn(5, 4)).shape == (5, 4)


def test_overlap_is_an_inner_product_that_conjugates_the_bra():
    bra, ket = random_state(3, 5, 1), random_state(3, 4, seed=1)
    assert_equal_to(1e-14, overlap(bra, ket), bra[:, 0].conj() @ ket.mT)
    assert_equal_to(1e-14, overlap(ket, ket), torch.ones(4))
