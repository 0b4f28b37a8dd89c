"""`qasa`: its circuit against PennyLane and Qiskit, its closed forms, and its bottleneck."""

import pennylane as qml
import pytest
import torch

from ketformer.attention import qasa
from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.quantum.backends.exact import TorchBackend
from ketformer.quantum.backends.qiskit import QiskitBackend

from .helpers import assert_equal_to, build, tokens

FORMS = [(n, layers) for n in (2, 3, 4) for layers in (2, 3, 4)]


def made(n, layers, **options):
    """The mechanism with other than its first angles, and hidden states whose angles are spread."""
    attention = build("qasa", 8, 2, n_qubits=n, layers=layers, **options).double()
    return attention, 2 * tokens(1, 3, 8).double()


def exact(experiment):
    backend = TorchBackend()
    return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)


def published_angles(angles, n, layers):
    """``[L, n + 1]`` as in the released code; what it has and we have not is 7."""
    weights = torch.full((layers, n + 1), 7.0, dtype=torch.float64)
    rows = list(angles)
    weights[0, :n] = torch.stack(rows[:n])
    del rows[:n]
    for layer in range(1, layers):
        weights[layer, :n] = torch.stack(rows[:n])
        del rows[:n]
        if layer < layers - 1:
            weights[layer, n] = rows.pop(0)
    assert not rows
    return weights.numpy()


@pytest.mark.parametrize(("n", "layers"), FORMS)
def test_outcomes_are_those_of_the_released_circuit_in_pennylane(n, layers):
    """With its auxiliary qubit and all of its angles, two of which change nothing."""
    attention, hidden = made(n, layers)
    encoded = attention.encoded(hidden).detach()
    weights = published_angles(attention.angles.detach(), n, layers)

    @qml.qnode(qml.device("default.qubit", wires=n + 1))
    def measured(row):
        for wire in range(n):
            qml.RX(row[wire], wire)
            qml.RZ(row[wire], wire)
        for wire in range(n):
            qml.RX(weights[0, wire], wire)
            qml.RZ(weights[1, wire], wire)
        for layer in range(1, layers):
            for wire in range(n):
                qml.CNOT([wire, (wire + 1) % n])
                qml.RY(weights[layer, wire], wire)
                qml.RZ(weights[layer, wire], wire)
            qml.CNOT([n - 1, n])
            qml.RY(weights[layer, n], n)
        return [qml.expval(qml.Z(wire)) for wire in range(n)]

    found = [[float(z) for z in measured(row.numpy())] for row in encoded[0]]
    expected = torch.tensor(found, dtype=torch.float64)
    assert_equal_to(1e-10, attention.outcomes(encoded)[0].detach(), expected)
    (experiment,) = attention.experiments(hidden)["value"]
    assert_equal_to(1e-12, exact(experiment), attention.outcomes(attention.encoded(hidden)))


def test_outcomes_are_those_of_qiskit():
    attention, hidden = made(3, 4)
    (experiment,) = attention.experiments(hidden)["value"]
    backend = QiskitBackend()
    found = backend.expectations(experiment.circuit, experiment.angles.detach(), experiment.strings)
    expected = attention.outcomes(attention.encoded(hidden)).detach()
    assert_equal_to(1e-10, found.to(expected.dtype), expected)


@pytest.mark.parametrize(
    ("n", "layers", "entanglement"),
    [
        (1, 4, "ring"),
        (2, 2, "ring"),
        (3, 2, "ring"),
        (5, 2, "ring"),
        (3, 1, "ring"),
        (4, 3, "none"),
    ],
)
def test_closed_forms_simulate_nothing_and_equal_the_circuit(monkeypatch, n, layers, entanglement):
    def refuse(_):
        raise AssertionError("a state was simulated")

    monkeypatch.setattr(qasa, "product_state", refuse)
    attention, hidden = made(n, layers, entanglement=entanglement)
    (experiment,) = attention.experiments(hidden)["value"]
    assert_equal_to(1e-13, attention.outcomes(attention.encoded(hidden)), exact(experiment))


def test_above_the_dense_limit_gates_are_applied_one_by_one(monkeypatch):
    attention, hidden = made(3, 4)
    expected = attention(hidden)[0]
    monkeypatch.setattr(qasa, "MAX_DENSE_QUBITS", 2)
    assert_equal_to(1e-13, attention(hidden)[0], expected)


def test_the_published_size_has_two_angles_and_a_cnot_less_which_change_nothing():
    attention = build("qasa", 64, 4, n_qubits=8, layers=4)
    assert attention.angles.numel() == 36 - 2
    assert sum(len(gate.controls) for gate in attention.ansatz.gates) == 27 - 1
    assert attention.ansatz.n_qubits == 9


def test_values_have_the_rank_of_the_twin_and_queries_are_classical():
    attention, twin = build("qasa", 16, 2, n_qubits=3), build("classical_bottleneck", 16, 2)
    hidden = tokens(1, 12, 16)
    values = attention.project(hidden)[2].transpose(1, 2).flatten(2)[0]
    values = values - attention.value_proj.bias
    assert int(torch.linalg.matrix_rank(values.double(), rtol=1e-5)) == 3
    twin.qk_proj.weight.data = attention.qk_proj.weight.data
    attention.qk_proj.bias.data.zero_()
    for one, other in zip(attention.project(hidden)[:2], twin.project(hidden)[:2], strict=True):
        assert torch.equal(one, other)


def test_hardware_runs_one_circuit_for_a_token():
    attention, hidden = made(2, 3)
    ran = []

    def counted(experiment):
        ran.append(experiment.angles.shape[:-1].numel())
        return exact(experiment)

    with measured_by(attention, counted):
        found = attention(hidden)[0]
    assert ran == [3]
    assert_equal_to(1e-12, found, attention(hidden)[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_qubits": 0}, "at least one qubit"),
        ({"layers": 0}, "layers must be positive"),
        ({"n_qubits": 16}, "17 qubits are too many to simulate"),
        ({"entanglement": "star"}, "must be one of ring, none"),
    ],
)
def test_a_mistake_is_one_clear_line(options, says):
    with pytest.raises(KetformerError, match=says):
        build("qasa", 8, 2, **options)
