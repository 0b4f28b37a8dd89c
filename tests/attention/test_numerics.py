"""Every mechanism and its gradients stay finite at every precision and on unusual inputs."""

import pytest
import torch

from ketformer.attention import ATTENTION, InputSizes, TokenInputs
from ketformer.attention.mixing import Weighting, mix

from .conftest import CASES
from .helpers import build, tokens

# One of each mechanism, and the options that change the path through the code.
SMALL = [(name, 16, 2, {}) for name in ATTENTION] + [
    case
    for case in CASES
    if case[3] and "angles" not in case[3]  # tables have a separate test
]
PRECISIONS = [torch.float16, torch.bfloat16, torch.float64]


def zero_among_others(shape):
    states = tokens(*shape)
    states[:, 1] = 0
    return states


# Squares of 1e-4 underflow in float16; hidden states of a layer without normalisation can be
# very small or very large.
INPUTS = {
    "ordinary": lambda shape: tokens(*shape),
    "all zero": lambda shape: torch.zeros(shape),
    "one zero": zero_among_others,
    "identical": lambda shape: tokens(1, 1, shape[-1]).expand(shape).clone(),
    "one amplitude": lambda shape: torch.eye(shape[-1])[:1].expand(shape).clone(),
    "large": lambda shape: 300 * tokens(*shape),
    "small": lambda shape: 1e-4 * tokens(*shape),
}


def assert_finite(attention, states, inputs=None):
    """Assert that the output has the input's type and that it and every gradient are finite."""
    attention.zero_grad()
    states = states.clone().requires_grad_()
    out, _ = attention(states, tokens=inputs)
    assert out.dtype == states.dtype
    assert out.isfinite().all()
    # In float16 a sum of squares could overflow by itself.
    out.float().square().mean().backward()
    assert states.grad is None or states.grad.isfinite().all()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize(("name", "hidden_size", "num_heads", "options"), SMALL, ids=str)
def test_finite_at_every_precision(precision, name, hidden_size, num_heads, options):
    attention = build(name, hidden_size, num_heads, **options).to(precision)
    for what, make in INPUTS.items():
        states = make((2, 5, hidden_size)).to(precision)
        if what == "large" and precision == torch.float16:
            # Values are quadratic in a token: (900)² is beyond float16. What is read from a state
            # is cubic, and nothing divides it.
            states = states / (30 if attention.has_weights else 100)
        try:
            assert_finite(attention, states)
        except AssertionError as error:
            pytest.fail(f"{what}: {error}")


@pytest.mark.parametrize(("name", "hidden_size", "num_heads", "options"), SMALL, ids=str)
def test_float64_agrees_with_float32(name, hidden_size, num_heads, options):
    attention = build(name, hidden_size, num_heads, **options)
    for what in ("ordinary", "one zero", "identical", "large", "small"):
        states = INPUTS[what]((2, 5, hidden_size))
        if what == "large" and name == "kernel":
            states = states / 10  # its phases are quadratic in a token, and no turn is like another
        single, _ = attention.float()(states)
        double, _ = attention.double()(states.double())
        scale = max(double.abs().max(), 1)
        assert (single - double).abs().max() < 1e-4 * scale, what


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize(
    ("name", "hidden_size", "length", "options"),
    [(name, 128, 3, {}) for name in ATTENTION]  # amplitudes of seven qubits
    + [(name, 16, 128, {}) for name in ATTENTION]  # a long sequence
    + [
        ("overlap", 16, 3, {"n_qubits": 8, "layers": 2}),
        ("qsann", 16, 4, {"encoding": "angle", "n_qubits": 6, "layers": 2}),
        ("qisa_a", 16, 4, {"layers": 20}),
    ],
    ids=str,
)
def test_long_registers_and_sequences_are_finite(precision, name, hidden_size, length, options):
    sizes = InputSizes(vocab_size=7, max_positions=length)
    attention = build(name, hidden_size, 4, inputs=sizes, **options).to(precision)
    assert_finite(attention, tokens(2, length, hidden_size).to(precision))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("conditions", [0, 2])
def test_tables_of_angles_are_finite_at_every_precision(precision, conditions):
    sizes = InputSizes(vocab_size=7, max_positions=6, n_conditions=conditions)
    attention = build("overlap", 16, 2, angles="embedding", inputs=sizes).to(precision)
    given = TokenInputs(
        input_ids=torch.tensor([[1, 1, 1, 1, 1], [0, 3, 6, 2, 2]]),
        position_ids=torch.arange(5)[None],
        conditions=torch.tensor([[0.0, 0.0], [1e3, -1e3]]).to(precision) if conditions else None,
        unknown=torch.tensor([[True, True], [False, False]]) if conditions else None,
    )
    assert_finite(attention, tokens(2, 5, 16).to(precision), given)


def test_distant_queries_give_no_denormal_gradients():
    """With which a training step would take several times as long."""
    how = Weighting("double_exponential", 1.0, 1.0, False, 0.0, True)
    queries = torch.zeros(1, 1, 4, 1, requires_grad=True)
    keys = torch.full((1, 1, 4, 1), 88.0**0.5)  # exp(-88) is the last that is no denormal number
    mixed, _ = mix(how, queries, keys, tokens(1, 4, 3)[None], None)
    mixed.square().sum().backward()
    assert queries.grad.eq(0).all()
