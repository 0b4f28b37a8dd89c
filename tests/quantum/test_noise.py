"""Noisy circuits agree with density matrices, including PennyLane's."""

import itertools
from dataclasses import replace
from functools import reduce

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.quantum import (
    Angle,
    Circuit,
    Gate,
    Noise,
    PauliStrings,
    decompose,
    entangling_ansatz,
    pauli_expectations,
    run,
)
from ketformer.quantum.circuit import FIXED_GATES, ROTATIONS
from ketformer.quantum.noise import noisy_expectations, noisy_probabilities, read_out, run_noisy

from .helpers import (
    assert_equal_to,
    circuits,
    dense_pauli,
    pauli_strings,
    random_angles,
    seeds,
    to_pennylane,
)

NATIVE = ROTATIONS + FIXED_GATES
EXACT = 1e-12  # float64
SINGLE = 1e-5  # float32


def natively(circuit):
    """The circuit with all controls removed except those of CNOTs."""
    gates = (replace(g, controls=g.controls[: g.name == "X"]) for g in circuit.gates)
    return Circuit(circuit.n_qubits, tuple(gates))


native_circuits = circuits(max_qubits=3, gates=(*NATIVE, *"XXXX")).map(natively)
probabilities = st.floats(0, 1)


def all_strings(n_qubits):
    return PauliStrings(tuple(map("".join, itertools.product("IXYZ", repeat=n_qubits))))


def with_errors(circuit, angles, noise):
    """The circuit in PennyLane, with errors as channels after each gate."""
    pairs = [a + b for a, b in itertools.product("IXYZ", repeat=2)]
    weights = [1 - noise.two_qubit] + [noise.two_qubit / 15] * 15
    kraus = [w**0.5 * dense_pauli(pair).numpy() for w, pair in zip(weights, pairs, strict=True)]
    for gate, operation in zip(circuit.gates, to_pennylane(circuit, angles), strict=True):
        yield operation
        if gate.controls:
            yield qml.QubitChannel(kraus, wires=gate.qubits)
        else:
            yield qml.DepolarizingChannel(noise.one_qubit, wires=gate.target)


def pennylane_density(circuit, angles, noise):
    """The density matrix that default.mixed computes."""
    operations = list(with_errors(circuit, angles, noise))  # built outside, or they count twice

    @qml.qnode(qml.device("default.mixed", wires=circuit.n_qubits))
    def density():
        for operation in operations:
            qml.apply(operation)
        return qml.density_matrix(range(circuit.n_qubits))

    return torch.from_numpy(np.array(density(), dtype=np.complex128))


def fully_mixed(n_qubits):
    return torch.eye(4**n_qubits, dtype=torch.float64)[0]


# --- Gates -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(native_circuits, seeds)
def test_without_noise_it_is_the_exact_state(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    state = run(circuit, angles)
    mixed = run_noisy(circuit, angles, Noise())
    assert_equal_to(EXACT, mixed, pauli_expectations(state, all_strings(circuit.n_qubits)))
    assert_equal_to(EXACT, noisy_probabilities(mixed), state.abs().square())


@settings(max_examples=40, deadline=None)
@given(native_circuits, probabilities, probabilities, seeds)
def test_pennylane_makes_the_same_mixed_state(circuit, one_qubit, two_qubit, seed):
    noise, n_qubits = Noise(one_qubit, two_qubit), circuit.n_qubits
    angles = random_angles(circuit, seed=seed)
    density = pennylane_density(circuit, angles, noise)
    strings = all_strings(n_qubits)
    expected = [(density @ dense_pauli(string)).trace().real for string in strings.strings]
    actual = run_noisy(circuit, angles, noise)
    assert_equal_to(EXACT, actual, torch.stack(expected))
    assert_equal_to(EXACT, noisy_probabilities(actual), density.diagonal().real)
    assert_equal_to(SINGLE, run_noisy(circuit, angles.float(), noise), actual)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("name", NATIVE)
def test_every_gate_turns_each_axis_as_it_should(name, target):
    gate = Gate(name, target, angle=Angle("t", -0.5, 0.3) if name in ROTATIONS else None)
    circuit = entangling_ansatz(2).rz(0, 0.4).rz(1, 1.9).then(Circuit(2, (gate,)))
    angles = random_angles(circuit)
    expected = pauli_expectations(run(circuit, angles), all_strings(2))
    assert (expected[1:].abs() > 0.01).sum() > 10  # a mistake shows on most axes
    assert_equal_to(EXACT, run_noisy(circuit, angles, Noise()), expected)


@pytest.mark.parametrize(("control", "target"), list(itertools.permutations(range(3), 2)))
def test_a_cnot_on_any_two_of_three_qubits(control, target):
    before = decompose(entangling_ansatz(3))
    circuit = before.cnot(control, target)
    angles = random_angles(circuit)
    noise = Noise(0.01, 0.1)
    density = pennylane_density(circuit, angles, noise)
    strings = all_strings(3)
    expected = [(density @ dense_pauli(string)).trace().real for string in strings.strings]
    assert_equal_to(EXACT, run_noisy(circuit, angles, noise), torch.stack(expected))


@pytest.mark.parametrize("name", ["rx", "ry", "rz"])
def test_after_three_errors_in_four_nothing_is_left_of_a_qubit(name):
    circuit = getattr(Circuit(1), name)(0, "t")
    mixed = run_noisy(circuit, random_angles(circuit), Noise(one_qubit=3 / 4))
    assert_equal_to(EXACT, mixed, fully_mixed(1))
    assert_equal_to(EXACT, noisy_probabilities(mixed), torch.tensor([0.5, 0.5]))


def test_after_fifteen_errors_in_sixteen_nothing_is_left_of_two_qubits():
    circuit = Circuit(3).ry(0, "a").rx(1, "b").ry(2, "c").cnot(2, 0)
    angles = random_angles(circuit)
    mixed = run_noisy(circuit, angles, Noise(two_qubit=15 / 16))
    alone = run_noisy(Circuit(1).rx(0, "b"), angles[1:2], Noise())
    expected = torch.zeros(4, 4, 4, dtype=torch.float64)
    expected[0, :, 0] = alone  # qubit 1 is not involved
    assert_equal_to(EXACT, mixed, expected.flatten())


def test_noise_comes_with_the_gates_only():
    assert_equal_to(
        EXACT,
        noisy_probabilities(run_noisy(Circuit(2), torch.empty(0), Noise(1, 1, 1))),
        torch.eye(4)[0],
    )


def test_batches_of_angles():
    circuit, noise = decompose(entangling_ansatz(2)), Noise(0.02, 0.1)
    angles = random_angles(circuit, 2, 3)
    mixed = run_noisy(circuit, angles, noise)
    assert mixed.shape == (2, 3, 16)
    assert noisy_probabilities(mixed).shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            one = run_noisy(circuit, angles[i, j], noise)
            assert_equal_to(1e-14, mixed[i, j], one)
            assert_equal_to(1e-14, noisy_probabilities(mixed)[i, j], noisy_probabilities(one))
    assert run_noisy(Circuit(2).h(0), torch.empty(5, 0), noise).shape == (5, 16)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4).flatmap(pauli_strings), seeds)
def test_expectations_are_entries_of_the_mixed_state(strings, seed):
    n_qubits = len(strings[0])
    circuit = entangling_ansatz(n_qubits)
    angles = random_angles(circuit, 2, seed=seed)
    mixed = run_noisy(circuit, angles, Noise())
    expected = pauli_expectations(run(circuit, angles), PauliStrings(strings))
    assert_equal_to(EXACT, noisy_expectations(mixed, PauliStrings(strings)), expected)


@settings(max_examples=30, deadline=None)
@given(native_circuits, probabilities, probabilities, seeds)
def test_probabilities_are_probabilities(circuit, one_qubit, two_qubit, seed):
    angles = random_angles(circuit, seed=seed)
    found = noisy_probabilities(run_noisy(circuit, angles, Noise(one_qubit, two_qubit)))
    assert (found >= 0).all()
    assert_equal_to(EXACT, found.sum(), torch.tensor(1.0))


# --- Readout -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), probabilities, seeds)
def test_each_bit_is_misread_on_its_own(n_qubits, error, seed):
    circuit = entangling_ansatz(n_qubits)
    distribution = run(circuit, random_angles(circuit, 2, seed=seed)).abs().square()
    bit = torch.tensor([[1 - error, error], [error, 1 - error]], dtype=torch.float64)
    confusion = reduce(torch.kron, [bit] * n_qubits)
    assert_equal_to(EXACT, read_out(distribution, error), distribution @ confusion)


def test_readout_by_hand():
    certain = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)  # 10
    read = torch.tensor([0.09, 0.01, 0.81, 0.09], dtype=torch.float64)
    assert_equal_to(EXACT, read_out(certain, 0.1), read)
    assert read_out(certain, 0.0).tolist() == [0, 0, 1, 0]
    assert read_out(certain, 1.0).tolist() == [0, 1, 0, 0]


# --- The numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["one_qubit", "two_qubit", "readout"])
@pytest.mark.parametrize("value", [-1e-9, 1.0000001, float("nan"), float("inf")])
def test_numbers_that_are_no_probability(field, value):
    with pytest.raises(KetformerError, match=f"{field} noise must be a probability"):
        Noise(**{field: value})


def test_where_the_noise_is():
    assert not Noise().on_gates
    assert not Noise(readout=0.1).on_gates
    assert Noise(one_qubit=0.1).on_gates
    assert Noise(two_qubit=0.1).on_gates
