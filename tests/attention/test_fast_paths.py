"""Fast paths against the readable reference: native kernels, fused scores, compiled graphs."""

import pytest
import torch

from ketformer.attention import ATTENTION, attention_mask, mixing
from ketformer.quantum import native

from .helpers import GrowingCache, build, tokens

# Fewer tokens than a tile of the kernels, more than one, and lengths on both sides of the choice
# between plain products and the fused kernel.
SHAPES = [(1, 1), (2, 6), (70, 5), (2, 70)]


@pytest.fixture
def in_torch(monkeypatch):
    """Builds what it is asked to without native kernels."""

    def build_in_torch(builder, **options):
        with monkeypatch.context() as patched:
            patched.setattr(native, "library", lambda: None)
            return builder(**options)

    return build_in_torch


def outcome(attention, hidden_states, **path):
    """The output, and the gradients of a scalar of it by tokens and parameters."""
    hidden_states = hidden_states.clone().requires_grad_()
    attention.zero_grad()
    mixed, _ = attention(hidden_states, **path)
    weight = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(5))
    (mixed * weight.to(mixed)).mean().backward()
    named = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"output": mixed.detach(), "tokens": hidden_states.grad} | named


def assert_alike(fast, reference):
    assert fast.keys() == reference.keys()
    for name, value in reference.items():
        torch.testing.assert_close(fast[name], value, atol=1e-5, rtol=1e-5, msg=f"{name} differs")


@pytest.mark.skipif(native.library() is None, reason="no native kernels on this machine")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("padded", [False, True], ids=["plain", "padded"])
def test_fast_and_reference_agree_in_outputs_and_gradients(build_case, in_torch, shape, padded):
    fast, reference = build_case(), in_torch(build_case)
    hidden_states = tokens(*shape, fast.hidden_size)
    mask = None
    if padded:
        is_token = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.7
        mask = attention_mask(shape[1], shape[1], padding=is_token)
    assert_alike(
        outcome(fast, hidden_states, mask=mask),
        outcome(reference, hidden_states, mask=mask, return_weights=True),
    )
    with torch.inference_mode():  # where nothing needs a gradient other paths are open
        found, _ = fast(hidden_states, mask=mask)
        expected, _ = reference(hidden_states, mask=mask, return_weights=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", ["native", "torch"])
@pytest.mark.parametrize("name", ATTENTION)
def test_every_mechanism_is_one_graph(name, kernels, in_torch):
    """Dynamo and the autograd tracer, without the minutes that code generation takes."""
    torch.compiler.reset()
    make = in_torch if kernels == "torch" else lambda builder: builder()
    attention = make(lambda: build(name, 16, 2))
    hidden_states = tokens(2, 6, 16)
    expected = outcome(attention, hidden_states)
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager", dynamic=False)
    mixed, _ = compiled(hidden_states)
    torch.testing.assert_close(mixed.detach(), expected["output"], atol=1e-6, rtol=0)
    with torch.inference_mode():
        mixed, _ = compiled(hidden_states)
    torch.testing.assert_close(mixed, expected["output"], atol=1e-6, rtol=0)
    attention.zero_grad()
    assert_alike(outcome(compiled, hidden_states) | {}, _prefixed(expected, "_orig_mod."))


def _prefixed(named, prefix):
    kept = {name: named[name] for name in ("output", "tokens")}
    return kept | {f"{prefix}{name}": v for name, v in named.items() if name not in kept}


def test_a_compiled_model_follows_strings_that_are_loaded():
    torch.compiler.reset()
    one, other = (build("qisa", 16, 2, seed=seed, observables="random") for seed in (0, 1))
    hidden_states = tokens(2, 6, 16)
    compiled = torch.compile(one, fullgraph=True, backend="aot_eager", dynamic=False)
    with torch.inference_mode():
        before, _ = compiled(hidden_states)
        one.load_state_dict(other.state_dict())
        after, _ = compiled(hidden_states)
        expected, _ = other(hidden_states)
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTION)
def test_generated_code_agrees(name):
    """The whole way through Inductor."""
    torch.compiler.reset()
    attention = build(name, 16, 2)
    hidden_states = tokens(4, 6, 16)
    expected = outcome(attention, hidden_states)
    found = outcome(torch.compile(attention, fullgraph=True, dynamic=False), hidden_states)
    assert_alike(found, _prefixed(expected, "_orig_mod."))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qisa", {"score": "double_exponential"}),
        ("classical", {"score": "gaussian", "mixing": "transposed"}),
        ("qisa_published", {}),
    ],
    ids=["causal", "transposed", "published"],
)
@pytest.mark.parametrize("padded", [False, True], ids=["plain", "padded"])
def test_scores_without_a_fused_kernel_are_mixed_in_chunks(monkeypatch, name, options, padded):
    attention = build(name, 16, 2, **options)
    hidden_states = tokens(3, 11, 16)
    mask = None
    if padded:
        is_token = torch.rand(3, 11, generator=torch.Generator().manual_seed(2)) < 0.7
        mask = attention_mask(11, 11, padding=is_token)
    expected = outcome(attention, hidden_states, mask=mask)
    monkeypatch.setattr(mixing, "_CHUNK", 4)
    assert_alike(outcome(attention, hidden_states, mask=mask), expected)


def test_chunks_after_a_cache_see_what_was_kept(monkeypatch):
    monkeypatch.setattr(mixing, "_CHUNK", 4)
    attention, hidden_states = build("qisa", 16, 2, score="double_exponential"), tokens(2, 13, 16)
    whole, _ = attention(hidden_states)
    cache = GrowingCache()
    parts = [attention(part, cache=cache)[0] for part in hidden_states.split([3, 10], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-6, rtol=0)
