"""Converted models run as others do: causal, with a cache, padded, packed, with beams."""

import pytest
import torch
from transformers import DynamicCache, StaticCache

from conversion.helpers import (
    CASES,
    CONTEXT,
    assert_close,
    converted,
    padded,
    small_model,
    some_ids,
)
from ketformer.audit import audit_causality

CACHED = [case for case in CASES if case[0] != "openai-gpt"]  # it has no cache


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_no_position_sees_a_later_one(name, attention):
    found = audit_causality(converted(name, attention), length=10, sequences=4)
    assert found.causal
    assert found.max_future_influence == 0
    assert found.max_past_influence > 0.01
    assert failed(found) == (UNPACKED if name == "openai-gpt" else [])


UNPACKED = ["packing"]  # OpenAI-GPT makes no mask of positions that begin again


def test_what_a_check_finds_in_the_original_stays():
    original = audit_causality(small_model("openai-gpt"), length=10, sequences=4)
    assert failed(original) == UNPACKED


def failed(audit):
    """The names of the checks that did not pass."""
    return [check.name for check in audit.checks if check.passed is False]


def test_a_leak_would_be_seen():
    found = audit_causality(converted("gpt2", "classical", mixing="transposed"), length=10)
    assert not found.causal
    assert found.max_future_influence > 0.01


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize(("name", "attention"), CACHED)
def test_with_a_cache_the_numbers_are_those_without(name, attention, kind):
    model, ids = converted(name, attention), some_ids(length=14)
    whole = model(ids, use_cache=False).logits
    cache = (
        DynamicCache(config=model.config)
        if kind == "dynamic"
        else StaticCache(config=model.config, max_cache_len=CONTEXT)
    )
    done = []
    for begin, end in ((0, 6), (6, 9), (9, 10), (10, 14)):
        mask = torch.ones(len(ids), CONTEXT if kind == "static" else end, dtype=torch.long)
        mask[:, end:] = 0
        part = model(
            ids[:, begin:end],
            attention_mask=mask,
            past_key_values=cache,
            position_ids=torch.arange(begin, end)[None],
            use_cache=True,
        )
        done.append(part.logits)
    assert_close(torch.cat(done, dim=1), whole, 1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_left_padding_changes_nothing(name, attention):
    model, ids = converted(name, attention), some_ids()
    plain = model(ids).logits
    assert_close(model(**padded(ids, 4)).logits[:, 4:], plain, 1e-4)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_beams_are_those_without_a_cache(name, attention):
    model, ids = converted(name, attention), some_ids(2, 5)
    how = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False}
    found = model.generate(ids, **how)
    assert torch.equal(found, model.generate(ids, use_cache=False, **how))
    assert found.shape[1] > 5


def test_the_cache_holds_the_key_value_heads_alone():
    model = converted("llama")
    cache = model(some_ids(), use_cache=True).past_key_values
    assert cache.layers[0].keys.shape[1] == cache.layers[0].values.shape[1] == 2


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_packed_sequences_do_not_see_each_other(name):
    model, ids = converted(name), some_ids(2, 7)
    packed = model(
        ids.view(1, -1), position_ids=torch.arange(7).repeat(2)[None], use_cache=False
    ).logits
    assert_close(packed.view(2, 7, -1), model(ids).logits)


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_a_static_cache_generates_the_same(name):
    model, ids = converted(name), some_ids(2, 5)
    how = {"max_new_tokens": 8, "do_sample": False}
    static = model.generate(ids, cache_implementation="static", disable_compile=True, **how)
    assert torch.equal(static, model.generate(ids, **how))
