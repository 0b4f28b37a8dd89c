"""Overlaps of short sequences, from angles to mixed values in one call: the same numbers."""

import pytest
import torch

from ketformer.attention import overlap, overlap_short
from ketformer.attention._trials import Case
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.masking import attention_mask
from ketformer.quantum import native
from ketformer.utils.conformance import all_alike

from .helpers import ROTARY
from .test_overlap_long import UNUSUAL

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native kernels here")


@pytest.fixture
def in_cache(monkeypatch):
    """How often the kernel was called."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return overlap_short.mix_in_cache(*arguments)

    monkeypatch.setattr(overlap, "mix_in_cache", counted)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("length", "options"),
    [
        (2, {}),
        (33, {"inputs": ROTARY, "temperature": 2.0}),
        (16, {"layers": 2, "n_qubits": 3, "token_shift": True}),
        (33, {"entanglement": "none", "inputs": ROTARY}),
        (5, {"entanglement": "none", "layers": 2, "n_qubits": 1}),
    ],
    ids=["usual", "rotary", "narrower", "products", "one qubit"],
)
def test_values_and_gradients_are_the_usual_ones(length, options, dtype, in_cache, monkeypatch):
    case = Case("overlap", 15, 3, options)
    attention, batch = case.build(dtype=dtype).train(), case.batch(2, length, dtype=dtype)
    with monkeypatch.context() as usual:
        usual.setattr(overlap, "SHORT", 0)
        expected = batch.outcome(attention)
    assert not in_cache
    all_alike("in cache", batch.outcome(attention), expected)
    assert len(in_cache) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("sees_later", [False, True])
def test_a_mask_says_what_is_seen(sees_later, dtype, in_cache, monkeypatch):
    attention = Case("overlap", 32, 2, {}).build(dtype=dtype)
    tokens = torch.arange(19) < torch.tensor([[19], [7], [0]])  # the last has none
    mask = attention_mask(19, 19, padding=tokens)
    if sees_later:
        mask = tokens[:, None, None, :].expand_as(mask)
    hidden_states = torch.randn(3, 19, 32, dtype=dtype)
    with torch.inference_mode():
        found, _ = attention(hidden_states, mask=mask)
        monkeypatch.setattr(overlap, "SHORT", 0)
        expected, _ = attention(hidden_states, mask=mask)
    assert len(in_cache) == 1
    assert found.dtype == dtype
    close = {"atol": 0.02, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-12, "rtol": 0}
    torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("options", UNUSUAL, ids=lambda options: next(iter(options)))
def test_what_the_kernel_lacks_takes_the_usual_way(options, in_cache):
    case = Case("overlap", 16, 2, options)
    output = case.batch(2, 5).through(case.build().train())
    assert output.isfinite().all()
    assert not in_cache


@pytest.mark.slow
@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
def test_conformance_on_two_threads(check, monkeypatch):
    monkeypatch.setattr(overlap_short, "_grain", lambda length: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    check("overlap", 16, 2)
