"""Scores of distances in short sequences, in one call: the numbers of the readable reference."""

import pytest
import torch
from hypothesis import given, strategies as st

from ketformer.attention import distance_short, mixing
from ketformer.attention._trials import Case
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.masking import attention_mask
from ketformer.attention.mixing import Weighting, mix
from ketformer.quantum import native

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native kernels here")

_TOLERANCES = {torch.float64: 1e-11, torch.float32: 2e-5}
DISTANCES = ["gaussian", "double_exponential"]


def weighting(score, **changed):
    """A softmax of these scores, at a temperature of its own."""
    return Weighting(
        score, 1.3, 1.0, causal=True, dropout=0.0, training=True, has_kernel=True
    )._replace(**changed)


def drawn(batch, heads, length, width, mixed, dtype=torch.float64):
    """Queries, keys and values as a model has them: strides are those of ``[B, T, H, D]``."""
    shapes = [(batch, length, heads, size) for size in (width, width, mixed)]
    return [torch.randn(s, dtype=dtype).transpose(1, 2).requires_grad_() for s in shapes]


@pytest.fixture
def in_cache(monkeypatch):
    """How often the kernel was called."""
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return distance_short_mix(*arguments, **options)

    distance_short_mix = distance_short.mix_distances
    monkeypatch.setattr(distance_short, "mix_distances", counted)
    return calls


@pytest.mark.parametrize("score", DISTANCES)
@pytest.mark.parametrize("dtype", _TOLERANCES, ids=str)
@given(
    sizes=st.tuples(*[st.integers(1, most) for most in (3, 3, 40, 19, 19)]),
    seed=st.integers(0, 99),
    mask=st.sampled_from(["none", "one", "each"]),
)
def test_values_and_gradients_are_those_of_the_reference(score, dtype, sizes, seed, mask):
    torch.manual_seed(seed)
    batch, heads, length, width, mixed = sizes
    given_to = drawn(batch, heads, length + 1, width, mixed, dtype)
    seen = None
    if mask != "none":
        rows = 1 if mask == "one" else batch
        padding = torch.rand(rows, length + 1) > 0.3  # a row may have no key at all
        seen = attention_mask(length + 1, length + 1, padding=padding)
    how, by = weighting(score), torch.randn(batch, heads, length + 1, mixed, dtype=dtype)
    outcomes = []
    for mixer in (lambda *a: mix(*a)[0], lambda *a: mixing._mix_explicitly(*a)[0]):
        out = mixer(how, *given_to, seen)
        outcomes.append((out, *torch.autograd.grad(out, given_to, by)))
    for found, expected in zip(*outcomes, strict=True):
        most = float(expected.detach().abs().max())
        close = {"rtol": 0, "atol": _TOLERANCES[dtype] * max(1.0, most)}
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("score", DISTANCES)
def test_gradients_by_finite_differences(score, in_cache):
    torch.manual_seed(0)
    how = weighting(score)
    assert torch.autograd.gradcheck(lambda *a: mix(how, *a, None)[0], drawn(2, 2, 5, 3, 4))
    assert in_cache


@pytest.mark.parametrize("score", DISTANCES)
def test_far_points_and_large_norms(score, in_cache):
    """Scores of -10,000 and less: the nearest key has all the weight, and nothing overflows."""
    queries, keys, values = drawn(1, 1, 20, 4, 4, torch.float32)
    out, _ = mix(weighting(score), queries * 100, keys * 100, values, None)
    expected, _ = mixing._mix_explicitly(weighting(score), queries * 100, keys * 100, values, None)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), (queries, keys)))
    assert in_cache


def test_the_mechanisms_use_it(in_cache):
    for name in ("classical_eq", "qisa", "qsann", "qisa_published"):
        case = Case(name, 16, 2, {"score": "gaussian"} if name == "classical_eq" else {})
        case.batch(2, 5).through(case.build().train())
    assert len(in_cache) == 3  # what is published sees the future, which it cannot


@pytest.mark.parametrize(
    "usual",
    [
        {"score": "dot"},
        {"score": "gaussian", "has_kernel": False},
        {"score": "gaussian", "dropout": 0.5},
        {"score": "gaussian", "causal": False},
        {"score": "gaussian", "temperature": torch.ones(2, 1, 1, dtype=torch.float64)},
        {"score": "double_exponential", "normalise": "sum"},
    ],
    ids=str,
)
def test_what_the_kernel_lacks_takes_the_usual_way(usual, in_cache):
    how = weighting(**usual)
    out, _ = mix(how, *drawn(2, 2, 5, 4, 4), None)
    assert out.isfinite().all()
    assert not in_cache


def test_long_sequences_and_half_precision_take_the_usual_way(in_cache, monkeypatch):
    how = weighting("gaussian")
    mix(how, *drawn(1, 1, 6, 4, 4, torch.bfloat16), None)
    monkeypatch.setattr(distance_short, "SHORT", 5)
    mix(how, *drawn(1, 1, 6, 4, 4), None)
    assert not in_cache


@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
@pytest.mark.slow
def test_conformance_on_two_threads(check, monkeypatch):
    monkeypatch.setattr(distance_short, "_GRAIN", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    check("qisa", 16, 2)
