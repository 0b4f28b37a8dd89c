"""Mechanisms whose circuits run one by one on a backend agree with the closed form."""

import pytest
import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.attention import InputSizes, TokenInputs, attention_class, build_attention
from ketformer.attention.measured import measured_by
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.errors import KetformerError
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of

WIDTH, LENGTH, BATCH = 12, 5, 3
# Circuits with as many qubits as the model or a head is wide.
NARROW = {"vqc_plain": 4, "orthogonal": 6}
PLAIN, CONDITIONED = InputSizes(11, 9), InputSizes(11, 9, n_conditions=4)
CASES = {name: {} for name in mechanisms_with_circuits()} | {
    "vqc in layers": {"n_qubits": 2, "layers": 2},
    "qisa of a wide space": {"hilbert_dim": 7},
    "qsann with strings": {"query_observables": "pauli"},
    "qsann by angles": {"encoding": "angle", "n_qubits": 2},
    "overlap in layers": {"layers": 2, "n_qubits": 3, "learnable_temperature": True},
    "overlap of embeddings": {"angles": "embedding", "inputs": PLAIN},
    "overlap of conditions": {"angles": "embedding", "inputs": CONDITIONED, "layers": 2},
}


def made(case, **changes):
    """A mechanism with large parameters, hidden states (one of them zero), and their tokens."""
    torch.manual_seed(0)
    options = CASES[case] | changes
    name = case.split()[0]
    width = NARROW.get(name, WIDTH)
    attention = build_attention(name, width, 2, **options).double().eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    states = torch.randn(BATCH, LENGTH, width, dtype=torch.float64)
    states[0, 0] = 0
    tokens = TokenInputs(
        torch.randint(11, (BATCH, LENGTH)),
        torch.arange(LENGTH)[None],
        torch.randn(BATCH, 4, dtype=torch.float64),
        torch.rand(BATCH, 4) < 0.3,
    )
    return attention, states, tokens


def exact(experiment):
    backend = open_backend("torch")
    return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)


@pytest.mark.parametrize("case", CASES)
def test_measured_outcomes_give_the_closed_form(case):
    attention, states, tokens = made(case)
    expected, weights = attention(states, tokens=tokens, return_weights=True)
    with measured_by(attention, exact):
        out, measured_weights = attention(states, tokens=tokens, return_weights=True)
    torch.testing.assert_close(out, expected, atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(measured_weights, weights, atol=1e-12, rtol=0)
    assert torch.equal(attention(states, tokens=tokens)[0], attention(states, tokens=tokens)[0])
    assert attention.expect is None


@pytest.mark.parametrize("case", CASES)
def test_wrong_outcomes_change_the_result(case):
    """The measured outcomes are really used, not the closed form."""
    attention, states, tokens = made(case)
    expected, _ = attention(states, tokens=tokens)
    with measured_by(attention, lambda e: 1 - exact(e)):
        out, _ = attention(states, tokens=tokens)
    assert (out - expected).abs().max() > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_parameter_shift_is_autograd_for_every_parameter(case):
    """It covers each angle of each circuit, and through these all parameters and hidden states."""
    attention, states, tokens = made(case)
    states[0, 0] = 0.3  # a zero vector has no state to differentiate
    states.requires_grad_()
    wanted = [states, *attention.parameters()]

    def gradients():
        out, _ = attention(states, tokens=tokens)
        return torch.autograd.grad(out.square().sum(), wanted, allow_unused=True)

    expected = gradients()
    with measured_by(attention, outcomes_of(open_backend("torch"), "parameter_shift")):
        found = gradients()
    for ours, truth in zip(found, expected, strict=True):
        truth = torch.zeros(()) if truth is None else truth
        ours = torch.zeros_like(truth) if ours is None else ours
        torch.testing.assert_close(ours, truth.expand_as(ours), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_experiments_name_circuits_of_two_qubit_gates(case):
    attention, states, tokens = made(case)
    for heads in attention.experiments(states, tokens).values():
        assert len(heads) == (1 if case in ("vqc_plain", "qasa") else 2)
        for experiment in heads:
            assert experiment.angles.shape[-1] == len(experiment.circuit.parameters)
            assert experiment.strings.n_qubits == experiment.circuit.n_qubits
            assert max(len(gate.qubits) for gate in experiment.circuit.gates) <= 2


def test_a_score_is_measured_for_each_pair_once():
    attention, states, tokens = made("overlap")
    (score,) = attention.experiments(states, tokens).values()
    assert score[0].angles.shape[:-1] == (BATCH, LENGTH * (LENGTH + 1) // 2)
    assert score[0].circuit.n_qubits == attention.n_qubits + 1


@pytest.mark.parametrize("name", ["classical", "classical_eq"])
def test_classical_attention_has_nothing_to_run(name):
    assert not attention_class(name)(8, 2, inputs=PLAIN).experiments(torch.zeros(1, 2, 8))
    with (
        pytest.raises(KetformerError, match="no circuits"),
        measured_by(build_attention(name, 8, 2, inputs=PLAIN), exact),
    ):
        pass


def test_other_scores_than_the_overlap_are_refused():
    attention, states, _ = made("overlap", score="gaussian")
    with (
        pytest.raises(
            KetformerError, match="measure the scores dot, square, absolute, not gaussian"
        ),
        measured_by(attention, exact),
    ):
        attention(states)


def test_a_model_runs_measured_without_a_cache():
    torch.manual_seed(1)
    config = KetformerConfig(
        attention="overlap", attention_options={"n_qubits": 2}, vocab_size=7, hidden_size=8,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=6,
    )  # fmt: skip
    model = KetformerForCausalLM(config).eval()
    ids = torch.randint(7, (2, 6))
    with torch.no_grad():
        expected = model(ids).logits
        with measured_by(model, exact):
            measured = model(ids, use_cache=False).logits
            with pytest.raises(KetformerError, match="use_cache=False"):
                model(ids, use_cache=True)
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=1e-5)


def test_an_interrupted_measurement_leaves_the_closed_form():
    attention, states, tokens = made("qisa_a")

    def broken(_):
        raise ConnectionError("the device is gone")

    with pytest.raises(ConnectionError), measured_by(attention, broken):
        attention(states, tokens=tokens)
    assert attention.expect is None
