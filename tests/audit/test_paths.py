"""The cache, left padding and packed rows: broken ones are found, missing ones are named."""

import pytest
import torch
from torch import nn

from audit.helpers import Attention, Decoder, causal, gpt2, llama
from ketformer import audit_causality
from ketformer.attention import build_attention
from ketformer.audit.result import _ranges


def check(model, name, **options):
    return audit_causality(model, **{"sequences": 2, "length": 12, **options}).check(name)


class Changed(nn.Module):
    """A model of transformers behind a change of its arguments."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change, self.config = model, change, model.config

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        use_cache=None,
        output_attentions=None,
    ):
        given = {
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "output_attentions": output_attentions,
        }
        return self.model(input_ids, **self.change(given))


def unchanged(given):
    return given


def without(*names):
    return lambda given: {k: v for k, v in given.items() if k not in names}


def positions_from_0(given):
    """The positions do not go on after what is in the cache."""
    zero = torch.zeros(1, 1, dtype=torch.long)
    return {**given, "position_ids": zero} if given["past_key_values"] is not None else given


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("path", ["cache", "left_padding", "packing"])
def test_all_pass_unchanged(make, path):
    found = check(Changed(make(), unchanged), path)
    assert found.passed, found.said


def test_positions_that_begin_again_after_the_cache():
    found = check(Changed(llama(), positions_from_0), "cache")
    assert found.passed is False
    assert found.influence > 1e-4
    assert (
        "with the cache, token by token, the outputs differ from those of the full pass"
        in found.said
    )


@pytest.mark.parametrize(
    ("make", "lost"), [(llama, ("attention_mask", "position_ids")), (gpt2, ("position_ids",))]
)
def test_padding_that_is_seen_or_counted(make, lost):
    found = check(Changed(make(), without(*lost)), "left_padding")
    assert found.passed is False
    assert found.influence > 1e-3


def test_packed_sequences_that_see_each_other():
    audit = audit_causality(Changed(llama(), without("position_ids")), sequences=2, length=12)
    assert audit.causal
    assert not audit.leaks  # of the past, into a row that was to be apart
    assert audit.check("packing").passed is False
    assert "sees the first although position_ids restart" in audit.check("packing").said


def test_a_mechanism_that_keeps_a_state_has_no_weights_to_check():
    audit = audit_causality(build_attention("pam", 8, 2), sequences=2)
    assert audit.causal
    found = audit.check("attention_weights")
    assert (found.passed, found.said) == (None, "PAM keeps a state, so it has no attention weights")


def test_what_a_plain_model_does_not_have_is_said():
    audit = audit_causality(Decoder(Attention(causal)), sequences=2)
    assert {found.name: (found.passed, found.said) for found in audit.checks[1:]} == {
        "cache": (None, "the model takes no cache"),
        "left_padding": (None, "the model takes no attention_mask"),
        "packing": (None, "the model takes no position_ids"),
        "attention_weights": (None, "the model returns no attention weights"),
    }
    assert "cache: not checked: the model takes no cache" in audit.findings()
    assert check(llama(), "left_padding", length=3).said == "it needs more than 3 tokens"


def test_the_weights_of_a_kernel_that_returns_none():
    said = check(gpt2(), "attention_weights").said
    assert said == "attn_implementation=sdpa returns none; eager does"


def test_a_check_that_fails_does_not_end_the_audit():
    def fail(given):
        if given["attention_mask"] is not None:
            raise RuntimeError("no masks\nhere")
        return given

    audit = audit_causality(Changed(gpt2(), fail), sequences=2, length=8)
    assert audit.causal
    assert audit.check("left_padding").said == "RuntimeError: no masks here"


def test_an_unknown_check():
    with pytest.raises(KeyError):
        check(gpt2(), "cash")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((), ""), ((4,), "4"), ((0, 1), "0-1"), ((0, 1, 2, 5, 7, 8), "0-2, 5, 7-8")],
)
def test_ranges(numbers, said):
    assert _ranges(numbers) == said
