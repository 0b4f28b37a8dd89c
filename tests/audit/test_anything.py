"""What can be audited: modules, functions, arrays; and what is refused, in one line each."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from audit.helpers import VOCAB, Attention, Decoder, gpt2, llama
from ketformer import KetformerConfig, KetformerForCausalLM, audit_causality
from ketformer.audit import precision
from ketformer.errors import KetformerError

_TABLE = np.random.default_rng(0).normal(size=(VOCAB, 5))


def counts(ids):
    """Mean of the vectors of the tokens so far, in NumPy alone."""
    return np.cumsum(np.take(_TABLE, ids, axis=0), axis=1) / np.arange(1, ids.shape[1] + 1)[:, None]


def only_arrays(ids):
    assert isinstance(ids, np.ndarray)
    return counts(ids)


def logits_of(model):
    return lambda ids: model(ids).logits


class Bare(nn.Module):
    """One embedding and its transpose."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 4)

    def forward(self, ids):
        return self.embed(ids) @ self.embed.weight.T


# --- What is taken -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        counts,
        only_arrays,
        lambda ids: torch.nn.functional.one_hot(ids, VOCAB),  # whole numbers
        lambda ids: (counts(ids), "and more"),
        lambda ids: {"logits": counts(ids)},
        lambda ids: SimpleNamespace(logits=torch.tensor(counts(ids))),
        lambda ids: counts(ids).astype(">f4"),
        lambda ids: np.where(np.arange(5) == 3, -np.inf, counts(ids)),  # a token that is ruled out
        logits_of(gpt2()),
    ],
)
def test_a_function(model):
    audit = audit_causality(model, VOCAB, sequences=3, length=8)
    assert audit.max_future_influence == 0.0
    assert audit.max_past_influence > 0.1
    assert audit.check("batch").passed


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_function_gets_the_verdict_of_the_model_in_it(make):
    model = make()
    inner = logits_of(model)
    ahead = audit_causality(lambda ids: inner(ids.roll(-1, 1)), VOCAB, sequences=2, length=8)
    assert (ahead.causal, ahead.ahead[0], ahead.sources) == (False, 1, ())
    assert "a function computes as it is written" in ahead.notes[-1]
    assert ahead.precisions == ("float32",)


def test_the_vocabulary_is_that_of_the_first_embedding():
    seen = []
    model = Bare()
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert audit_causality(model, sequences=20).causal
    assert max(int(ids.max()) for ids in seen) == VOCAB - 1


@given(at=st.integers(0, 10), ahead=st.integers(1, 11), tokens=st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_the_one_position_that_peeks_is_named(at, ahead, tokens):
    sees = min(at + ahead, 11)

    def peeking(ids):
        logits = ids[..., None].double()
        logits[:, at] += 1e-9 * ids[:, sees, None]
        return logits

    audit = audit_causality(peeking, tokens, sequences=2, length=12)
    assert audit.worst == (sees, at)
    assert audit.positions == (at,)
    assert f"Position {at} of 0-11 sees a later token, {sees - at} ahead." in audit.findings()
    assert audit.ahead == (sees - at, sees - at)


def test_hooks_and_modes_and_weights_stay_as_they_were():
    model = Decoder(Attention(lambda n: torch.ones(n, n).bool()), nn.Dropout(0.5)).train()
    model.norm.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not audit_causality(model, sequences=2, length=8).causal
    assert [part.training for part in (model, model.mixers[1], model.norm)] == [True, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.get_default_dtype() == torch.float32


def test_a_model_without_a_copy_is_audited_as_it_is(monkeypatch):
    monkeypatch.setattr(precision, "LARGEST", 10)
    audit = audit_causality(llama(), sequences=2, length=8)
    assert (audit.causal, audit.precisions) == (True, ("float32",))
    assert "float64: ValueError: " in audit.notes[0]
    assert "parameters are more than 10" in audit.notes[0]


def test_a_function_that_rounds_is_not_cleared_but_told():
    def noisy(ids):
        logits = ids[..., None] + torch.zeros(3)
        return logits * (1 + 1e-7 * ids.float().mean(dim=1)[:, None, None])

    audit = audit_causality(noisy, VOCAB, sequences=2, length=8)
    assert not audit.causal
    assert "may also be rounding in float32" in audit.notes[0]


def test_zero_weights_hide_a_leak_and_are_named():
    model = Decoder(Attention(lambda length: torch.ones(length, length).bool()))
    nn.init.zeros_(model.mixers[0].out.weight)
    audit = audit_causality(model, sequences=2, length=8)
    assert audit.causal
    assert audit.notes == ("all weights of mixers.0.out are 0, which hides what leaks into it",)


def test_a_model_with_conditions_is_given_them():
    config = KetformerConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, condition_names=["x"],
        condition_means=[0.0], condition_stds=[1.0], condition_ranges=[[-1.0, 1.0]],
    )  # fmt: skip
    assert audit_causality(KetformerForCausalLM(config), sequences=2, length=6).causal


# --- What is refused ---------------------------------------------------------------------------


def nan_at_the_third(ids):
    logits = counts(ids)
    logits[1, 3] = np.nan
    return logits


def dropping(ids):
    return torch.nn.functional.dropout(torch.tensor(counts(ids)), 0.5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (7, r"a callable from token ids \[B, T\] to logits \[B, T, V\], got int"),
        (lambda ids: counts(ids)[:, -1], r"logits of every position, \[2, 8, V\] .* \[2, 5\]"),
        (lambda ids: counts(ids)[:, -1:], r"of every position.* they have shape \[2, 1, 5\]"),
        (lambda ids: counts(ids)[:1], r"they have shape \[1, 8, 5\]"),
        (lambda ids: "logits", "returns str, not logits"),
        (lambda ids: None, "returns NoneType, not logits"),
        (nan_at_the_third, "NaN, first in row 1 at position 3"),
        (dropping, "other outputs when it is run again .* switch off dropout"),
        (lambda ids: np.zeros((*ids.shape, 5)), "do not depend on its inputs"),
        (lambda ids: ids.nothing, "fails on ids of shape .* AttributeError"),
        (lambda: 1, "TypeError"),
    ],
)
def test_mistakes_of_a_function(model, told):
    with pytest.raises(KetformerError, match=told) as caught:
        audit_causality(model, VOCAB, sequences=2, length=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocab_size", "told"), [(None, "give vocab_size"), (1, "at least 2, got 1")]
)
def test_the_number_of_tokens_must_be_known(vocab_size, told):
    with pytest.raises(KetformerError, match=told):
        audit_causality(counts, vocab_size)


@pytest.mark.parametrize("options", [{"length": 0}, {"length": -1}, {"sequences": 0}])
def test_nothing_to_audit(options):
    with pytest.raises(KetformerError, match="can be audited"):
        audit_causality(counts, VOCAB, **options)


def test_a_function_with_a_short_context():
    positions = np.zeros((1, 16, 1))
    with pytest.raises(KetformerError, match=r"\[8, 32\] \(if they are too long, give a length\)"):
        audit_causality(lambda ids: counts(ids) + positions, VOCAB)
    model = Bare()
    model.config = SimpleNamespace(block_size=16)
    assert audit_causality(model, sequences=2).length == 16


def test_too_large_a_vocabulary_for_the_model():
    with pytest.raises(KetformerError, match=r"Decoder fails .* IndexError: index out of range"):
        audit_causality(Decoder(), 1000)


def test_the_output_of_zero_weights_shows_nothing():
    model = gpt2()
    nn.init.zeros_(model.transformer.wte.weight)  # tied to the output
    with pytest.raises(KetformerError, match=r"gpt2 do not depend .* are its output weights all"):
        audit_causality(model)
