"""Every way to measure overlaps gives the closed form, or plainly loses the sign."""

import pytest
import torch

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.attention import InputSizes, TokenInputs, build_attention
from ketformer.attention.measured import measure_by, measured_by
from ketformer.attention.overlap_measurement import MEASUREMENTS
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, Noise
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of

WIDTH, LENGTH, BATCH, HEADS = 6, 4, 2, 2
PAIRS, STATES = BATCH * HEADS * LENGTH * (LENGTH + 1) // 2, BATCH * HEADS * LENGTH * 2
TOKENS = TokenInputs(
    torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH), torch.arange(LENGTH)[None]
)
STATES_OF_TOKENS = torch.randn(
    BATCH, LENGTH, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
)
FORMS = {
    "one layer": {},
    "two layers": {"layers": 2, "n_qubits": 3},
    "embedding": {"angles": "embedding", "inputs": InputSizes(9, 9)},
}


def build(measurement, seed=0, **options):
    """A mechanism with angles over several turns, so that overlaps have both signs."""
    if measurement == "product":
        options["entanglement"] = "none"
    torch.manual_seed(seed)
    made = build_attention("overlap", WIDTH, HEADS, **{"n_qubits": 2, **options}).double().eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=1.5)
    made.measure_by(measurement)
    return made


def lower(attention):
    """The overlaps of the pairs i >= j, from whatever queries and keys there are."""
    if attention.expect is None:
        query, key, _ = attention.project(STATES_OF_TOKENS, TOKENS)
    else:
        outcomes = {
            name: torch.stack([attention.expect(e) for e in heads], dim=-2)
            for name, heads in attention.experiments(STATES_OF_TOKENS, TOKENS).items()
        }
        query, key, _ = attention.project_measured(STATES_OF_TOKENS, TOKENS, outcomes)
    return (query @ key.mT).tril()


def measured(attention, **backend):
    with measured_by(attention, outcomes_of(open_backend(**{"name": "torch", **backend}))):
        return lower(attention)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name, way in MEASUREMENTS.items() if way.keeps_sign])
def test_ways_that_keep_the_sign_give_the_closed_form(name, form):
    attention = build(name, **FORMS[form])
    exact = lower(attention)
    assert exact.min() < -0.1  # otherwise the sign would not be tested
    torch.testing.assert_close(measured(attention), exact, atol=1e-12, rtol=0)
    expected, weights = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
    with measured_by(attention, outcomes_of(open_backend("torch"))):
        out, found = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found, weights, atol=1e-12, rtol=0)


def test_states_of_an_ansatz_of_ones_own_are_measured_once():
    ansatz = Circuit(2).h(0).ry(0, "a").ry(1, "b").x(1).cnot(0, 1).ry(1, "c").z(0).h(1)
    attention = build("tomography", ansatz=ansatz)
    torch.testing.assert_close(measured(attention), lower(attention), atol=1e-12, rtol=0)
    single = Circuit(2).h(0).ry(0, "a").ry(1, "b").x(1).z(0)
    attention = build("hadamard", ansatz=single)
    attention.measure_by("product")
    torch.testing.assert_close(measured(attention), lower(attention), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name in MEASUREMENTS if name != "hadamard"])
def test_complex_states_take_hadamard_tests(name):
    attention = build("hadamard", score="square", ansatz=Circuit(2).rx(0, "a").ry(1, "b"))
    with pytest.raises(NotOfferedError, match="needs real states"):
        attention.measure_by(name)


@pytest.mark.parametrize("score", ["square", "absolute"])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_scores_without_a_sign_are_measured_by_all(name, score):
    attention = build(name, score=score)
    torch.testing.assert_close(measured(attention).abs(), lower(attention).abs())
    expected, weights = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
    with measured_by(attention, outcomes_of(open_backend("torch"))):
        out, found = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found, weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name, way in MEASUREMENTS.items() if not way.keeps_sign])
def test_a_lost_sign_is_refused_for_the_published_score(name):
    attention = build("hadamard")
    with pytest.raises(NotOfferedError, match=f"{name} loses the overlap's sign.*tomography"):
        attention.measure_by(name)
    assert attention.measurement == "hadamard"


def test_product_states_need_circuits_without_entanglement():
    attention = build("hadamard")
    with pytest.raises(NotOfferedError, match="entanglement=none"):
        attention.measure_by("product")
    assert attention.measurement == "hadamard"


@pytest.mark.parametrize(
    ("name", "circuits", "qubits"),
    [
        ("hadamard", PAIRS, 3),
        ("tomography", STATES, 3),
        ("product", 3 * STATES, 3),  # X, Z and the sign
        ("swap", PAIRS, 5),
        ("uncompute", PAIRS, 2),
    ],
)
def test_number_of_circuits(name, circuits, qubits):
    attention = build(name, score="square")
    widest = []

    def expect(experiment):
        widest.append(experiment.circuit.n_qubits)
        return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)

    with open_backend("torch") as backend, measured_by(attention, expect):
        lower(attention)
        assert backend.circuits_run == circuits
    assert max(widest) == qubits


@pytest.mark.parametrize("name", ["hadamard", "tomography"])
def test_overlaps_are_unbiased(name):
    attention = build(name)
    exact = lower(attention)
    draws = torch.stack([measured(attention, name="shots", shots=50, seed=s) for s in range(100)])
    error = (draws.mean(0) - exact).abs()
    assert (error < 4.5 * draws.std(0) / 100**0.5 + 1e-12).all()
    assert draws.std(0)[..., -1, 0].min() > 0.05  # there is something to average


def test_the_sign_of_a_product_state_needs_few_shots():
    attention = build("product")
    exact = lower(attention)
    clear = exact.abs() > 0.5
    found = measured(attention, name="shots", shots=100, seed=0)
    assert clear.sum() > 5
    assert torch.equal(found[clear].sign(), exact[clear].sign())


def test_depolarised_states_keep_their_angles():
    """Noise shrinks X and Z nearly alike, so angles stay where Hadamard tests shrink.

    Not quite alike: X is measured after one more gate, with an error of its own.
    """
    noise = Noise(one_qubit=0.1)
    errors = {}
    for name in ("product", "hadamard"):
        attention = build("product", layers=2, n_qubits=3)
        attention.measure_by(name)
        errors[name] = (measured(attention, noise=noise) - lower(attention)).abs().max()
    assert errors["product"] < errors["hadamard"] / 4


@pytest.mark.parametrize("name", ["tomography", "product"])
def test_parameter_shift_is_autograd(name):
    attention = build(name)
    wanted = list(attention.parameters())

    def gradients():
        out, _ = attention(STATES_OF_TOKENS, tokens=TOKENS)
        return torch.autograd.grad(out.square().sum(), wanted)

    expected = gradients()
    with measured_by(attention, outcomes_of(open_backend("torch"), "parameter_shift")):
        found = gradients()
    for ours, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, truth, atol=1e-9, rtol=1e-7)


def model(attention, **options):
    config = KetformerConfig(
        vocab_size=7, max_position_embeddings=4, hidden_size=4, num_hidden_layers=2,
        num_attention_heads=1, attention=attention, **options,
    )  # fmt: skip
    return KetformerForCausalLM(config).eval()


def test_a_model_is_measured_in_another_way():
    made = model("overlap", attention_options={"n_qubits": 2})
    ids = torch.tensor([[1, 2, 3, 4]])
    expected = made(ids, use_cache=False).logits
    measure_by(made, "tomography")
    with open_backend("torch") as backend, measured_by(made, outcomes_of(backend)):
        torch.testing.assert_close(made(ids, use_cache=False).logits, expected)
        assert backend.circuits_run == 2 * 8  # two layers of four queries and four keys


def test_other_mechanisms_are_measured_in_one_way():
    with pytest.raises(KetformerError, match="no measurement 'tomography'; known: only one way"):
        measure_by(model("qisa_a"), "tomography")
    with pytest.raises(KetformerError, match="known: hadamard, tomography, product"):
        measure_by(model("overlap"), "guess")


# --- Fidelities --------------------------------------------------------------------------------

KERNELS = {
    "angle": {"encoding": "angle", "repeats": 2},
    "iqp": {"encoding": "iqp", "coupling": 0.0},
    "ry_reupload": {"encoding": "ry_reupload", "repeats": 2, "entanglement": "none"},
    "by positions": {"encoding": "angle", "inputs": InputSizes(9, 9, positions="rotary")},
}


@pytest.mark.parametrize("form", KERNELS)
def test_kernels_that_are_products_are_measured_once_per_token(form):
    torch.manual_seed(0)
    attention = build_attention("kernel", WIDTH, HEADS, **KERNELS[form]).double().eval()
    attention.measure_by("product")
    expected, weights = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
    with open_backend("torch") as backend, measured_by(attention, outcomes_of(backend)):
        out, found = attention(STATES_OF_TOKENS, tokens=TOKENS, return_weights=True)
        assert backend.circuits_run == 2 * STATES
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found, weights, atol=1e-12, rtol=0)


def test_kernels_with_gates_between_qubits_are_measured_by_pairs():
    attention = build_attention("kernel", WIDTH, HEADS, encoding="iqp")
    with pytest.raises(NotOfferedError, match="without gates between qubits"):
        attention.measure_by("product")
    assert attention.measurement == "uncompute"
