"""`vqc`, `vqc_plain` and their twin: circuits against PennyLane and against closed forms."""

import math

import pennylane as qml
import pytest
import torch

from ketformer.attention import angle_circuit
from ketformer.attention.angle_circuit import AngleCircuit
from ketformer.attention.measured import measured_by
from ketformer.attention.spread import spread_of_scores
from ketformer.circuits.mechanisms import experiments
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum.backends.exact import TorchBackend

from .helpers import assert_equal_to, build, tokens

TEMPLATES = {
    "rx": lambda w, n: qml.BasicEntanglerLayers(w[..., 0], wires=range(n)),
    "strongly_entangling": lambda w, n: qml.StronglyEntanglingLayers(w, wires=range(n)),
}
FORMS = [(a, n, layers) for a in TEMPLATES for n in (1, 2, 3, 4) for layers in (1, 2)]


def drawn(circuit, rows=3):
    generator = torch.Generator().manual_seed(7)
    encoded = 3 * torch.randn(rows, circuit.n_qubits, generator=generator, dtype=torch.float64)
    angles = 3 * torch.randn(circuit.n_angles, generator=generator, dtype=torch.float64)
    return encoded, angles


def exact(experiment):
    backend = TorchBackend()
    return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)


@pytest.mark.parametrize(("ansatz", "n", "layers"), FORMS)
def test_outcomes_are_those_of_pennylane(ansatz, n, layers):
    circuit = AngleCircuit(n, layers, ansatz, "ring")
    encoded, angles = drawn(circuit)
    weights = angles.unflatten(0, (layers, n, -1)).numpy()

    @qml.qnode(qml.device("default.qubit", wires=n))
    def measured(row):
        qml.AngleEmbedding(row, wires=range(n), rotation="X")
        TEMPLATES[ansatz](weights, n)
        return [qml.expval(qml.Z(wire)) for wire in range(n)]

    expected = torch.tensor([[float(z) for z in measured(row.numpy())] for row in encoded])
    assert_equal_to(1e-6, circuit(encoded, angles).float(), expected.float())
    assert_equal_to(1e-12, exact(circuit.experiment(encoded, angles)), circuit(encoded, angles))


@pytest.mark.parametrize("entanglement", ["ring", "none"])
@pytest.mark.parametrize("ansatz", TEMPLATES)
def test_closed_forms_simulate_nothing_and_equal_the_circuit(monkeypatch, ansatz, entanglement):
    def refuse(_):
        raise AssertionError("a state was simulated")

    monkeypatch.setattr(angle_circuit, "product_state", refuse)
    for n in (1, 2, 3, 5, 6):
        circuit = AngleCircuit(n, 1 if entanglement == "ring" else 3, ansatz, entanglement)
        encoded, angles = drawn(circuit)
        found = circuit(encoded, angles)
        assert_equal_to(1e-13, found, exact(circuit.experiment(encoded, angles)))


def test_above_the_dense_limit_gates_are_applied_one_by_one(monkeypatch):
    circuit = AngleCircuit(3, 2, "strongly_entangling", "ring")
    encoded, angles = drawn(circuit)
    expected = circuit(encoded, angles)
    monkeypatch.setattr(angle_circuit, "MAX_DENSE_QUBITS", 2)
    assert_equal_to(1e-13, circuit(encoded, angles), expected)


def test_a_product_with_a_zero_among_its_cosines_has_its_gradient():
    circuit = AngleCircuit(4, 1, "rx", "ring")
    encoded = torch.tensor([[math.pi / 2, 0.3, 0.4, 0.5]], dtype=torch.float64, requires_grad=True)
    angles = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(circuit, (encoded, angles))


# --- The plain form --------------------------------------------------------------------------


def test_the_plain_form_has_angles_alone_and_one_layer_at_any_width():
    attention = build("vqc_plain", 64, 2)
    assert {name for name, _ in attention.named_parameters()} == {"angles"}
    assert attention.angles.shape == (4, 64)
    with pytest.raises(KetformerError, match="too many to simulate"):
        build("vqc_plain", 64, 2, layers=2)
    with pytest.raises(NotOfferedError, match="initial_spread"):
        build("vqc_plain", 64, 2, initial_spread=0.1)


def test_without_a_trained_weight_it_still_counts_its_circuits():
    attention = build("vqc_plain", 4, 2, train_circuit=False)
    assert not list(attention.parameters())
    assert spread_of_scores(attention) > 0
    found = experiments(attention, batch=1, length=2)
    assert list(found) == ["query", "key", "value", "output"]


def test_hardware_runs_four_circuits_for_a_token_of_the_plain_form():
    attention, hidden = build("vqc_plain", 4, 2, layers=2).double(), tokens(1, 3, 4).double()
    ran = []

    def counted(experiment):
        ran.append(experiment.angles.shape[:-1].numel())
        return exact(experiment)

    with measured_by(attention, counted):
        found = attention(hidden)[0]
    assert ran == [3, 3, 3, 3]
    assert_equal_to(1e-12, found, attention(hidden)[0])


# --- The dressed form and its twin -------------------------------------------------------------


def test_the_last_rotation_of_the_last_layer_changes_nothing():
    attention, hidden = build("vqc", 8, 2, layers=2), tokens(1, 4, 8)
    attention(hidden)[0].square().sum().backward()
    slopes = attention.angles.grad.unflatten(-1, (2, 4, 3)).abs().amax((0, 1, 3))
    assert slopes[1, 2] < 1e-6 * slopes.max()
    assert (slopes.flatten()[:5] > 1e-3 * slopes.max()).all()


@pytest.mark.parametrize("width", [3, 4])
def test_the_twin_has_a_tanh_in_place_of_the_circuit_and_every_other_weight(width):
    quantum = build("vqc", 8, 2, n_qubits=width)
    twin, hidden = build("classical_tanh", 8, 2, narrow_width=width), tokens(2, 5, 8)
    state = {k: v for k, v in quantum.state_dict().items() if k != "angles"}
    twin.load_state_dict(state)
    narrow = twin.narrow_proj(hidden).tanh().unflatten(-1, (3, 2, width)).permute(2, 0, 3, 1, 4)
    query, key, value = twin.project(hidden)
    assert_equal_to(1e-6, query, narrow[0])
    assert_equal_to(1e-6, key, narrow[1])
    assert_equal_to(1e-6, value, narrow[2] if width == 4 else twin.value_proj(narrow[2]))
    assert twin.dot_scale(width) == quantum.dot_scale(width) == width**-0.5


@pytest.mark.parametrize("name", ["vqc", "classical_tanh"])
def test_bounded_outcomes_offer_no_chosen_spread(name):
    with pytest.raises(NotOfferedError, match="set its temperature"):
        build(name, 8, 2, initial_spread=0.1)


@pytest.mark.parametrize("name", ["vqc", "classical_tanh"])
def test_an_empty_register_is_refused(name):
    option = {"vqc": "n_qubits", "classical_tanh": "narrow_width"}[name]
    with pytest.raises(KetformerError, match="got 0"):
        build(name, 8, 2, **{option: 0})
