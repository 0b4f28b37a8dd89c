"""Fast paths against the readable reference: native kernels, fused scores, compiled graphs."""

from dataclasses import replace

import pytest
import torch

from ketformer.attention import ATTENTION, attention_class, attention_options, mixing
from ketformer.attention._trials import Case, GrowingCache
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.quantum import native
from ketformer.utils.conformance import alike, all_alike

from .conftest import CASES, case_id
from .helpers import build, tokens

# Fewer tokens than in a tile of the kernels and more than in one tile; lengths for which plain
# products or the fused kernel are chosen.
SHAPES = [(1, 1), (2, 6), (70, 5), (2, 70)]
TYPES = [torch.float32, torch.float64]


def some_padding(batch):
    """A mask in which three of ten positions are padding."""
    drawn = torch.rand(batch.is_token.shape, generator=torch.Generator().manual_seed(2))
    return replace(batch, is_token=drawn < 0.7).mask()


def without_kernels(monkeypatch, make):
    """What ``make`` builds when there are no native kernels."""
    with monkeypatch.context() as patched:
        patched.setattr(native, "library", lambda: None)
        return make()


@pytest.mark.skipif(native.library() is None, reason="no native kernels on this machine")
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "case", [case for case in CASES if attention_class(case[0]).has_weights], ids=case_id
)
def test_native_kernels_and_torch_agree(case, dtype, monkeypatch):
    *sizes, options = case
    case = Case(*sizes, options)
    fast = case.build(dtype=dtype)
    plain = without_kernels(monkeypatch, lambda: case.build(dtype=dtype))
    for shape in SHAPES:
        batch = case.batch(*shape, dtype=dtype)
        for mask in (None, some_padding(batch)):
            expected = batch.outcome(plain, mask, return_weights=True)
            all_alike(f"{shape}", batch.outcome(fast, mask), expected)
            with torch.inference_mode():  # without gradients, other paths are taken
                alike(f"{shape}", batch.through(fast, mask), expected["output"])


def asks_for_kernels(name):
    """Whether a mechanism looks for native kernels when it is built."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: asked.append(name))
        Case(name, 4, 1).build()
    return bool(asked)


# The others' graphs are those of the conformance suite, and so is how published variants mix.
TRACED = [*filter(asks_for_kernels, mechanisms_with_circuits(distinct=True))]


@pytest.mark.parametrize("name", TRACED)
def test_one_graph_without_native_kernels(name, monkeypatch):
    """Circuits are then traced gate by gate, so this uses one short circuit.

    Dynamo alone: of plain torch operations there is nothing to show by the autograd tracer, which
    the conformance suite uses.
    """
    torch.compiler.reset()
    case = Case(name, 4, 1, {"layers": 1} if "layers" in attention_options(name) else {})
    attention = without_kernels(monkeypatch, case.build)
    compiled = torch.compile(attention, fullgraph=True, backend="eager", dynamic=False)
    batch = case.batch(2, 6)
    found = batch.outcome(attention, called=compiled)
    all_alike("compiled", found, batch.outcome(attention))


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
    alike("with the other's strings", after, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTION)
def test_generated_code_agrees(name):
    """Compile all the way through Inductor."""
    torch.compiler.reset()
    case = Case(name)
    attention, batch = case.build(), case.batch(4, 6)
    compiled = torch.compile(attention, fullgraph=True, dynamic=False)
    for mask in (None, batch.mask()):
        found = batch.outcome(attention, mask, called=compiled)
        all_alike("generated code", found, batch.outcome(attention, mask))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "case",
    [
        Case("qisa", options={"score": "double_exponential"}),
        Case("classical", options={"score": "gaussian", "mixing": "transposed"}),
        Case("qisa_published"),
    ],
    ids=["causal", "transposed", "published"],
)
def test_scores_without_a_fused_kernel_are_mixed_in_chunks(monkeypatch, case, dtype):
    attention, batch = case.build(dtype=dtype), case.batch(3, 11, dtype=dtype)
    for mask in (None, some_padding(batch)):
        expected = batch.outcome(attention, mask)
        with monkeypatch.context() as patched:
            patched.setattr(mixing, "_CHUNK", 4)
            all_alike("in chunks", batch.outcome(attention, mask), expected)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_chunks_after_a_cache_see_what_was_kept(monkeypatch, dtype):
    monkeypatch.setattr(mixing, "_CHUNK", 4)
    case = Case("qisa", options={"score": "double_exponential"})
    attention, batch = case.build(dtype=dtype), case.batch(2, 13, dtype=dtype)
    cache = GrowingCache()
    parts = [part.through(attention, cache=cache) for part in batch.split((3, 10))]
    alike("in parts", torch.cat(parts, dim=1), batch.through(attention))
