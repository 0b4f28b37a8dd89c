"""`continue_tokens`: text of any length from a model of any context."""

import pytest
import torch
from transformers import set_seed

from ketformer.errors import KetformerError
from ketformer.generation.continuation import continue_tokens, stream_tokens
from mechanisms import MECHANISMS
from models.helpers import CAUSAL, CONTEXT, LEAKY, VOCABULARY, small_model, some_ids

GREEDY, SAMPLED = {"do_sample": False}, {"do_sample": True, "top_k": 0}


def continued(model, prompts, number, **options):
    set_seed(0)
    written = continue_tokens(model, prompts, number, **options)
    assert written.shape == (len(prompts), number)
    assert ((written >= 0) & (written < VOCABULARY)).all()
    return written


@pytest.mark.parametrize("attention", MECHANISMS)
@pytest.mark.parametrize("number", [1, CONTEXT - 4, CONTEXT - 3, 3 * CONTEXT + 1])
def test_it_writes_exactly_as_many_tokens_as_asked(attention, number):
    continued(small_model(attention), some_ids(2, 4), number, **SAMPLED)


@pytest.mark.parametrize("attention", CAUSAL)
@pytest.mark.parametrize("way", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_with_the_cache_equals_without_far_beyond_the_context(attention, way):
    model, prompts = small_model(attention), some_ids(2, 4)
    with_cache = continued(model, prompts, 40, use_cache=True, **way)
    assert torch.equal(with_cache, continued(model, prompts, 40, use_cache=False, **way))


@pytest.mark.parametrize("attention", LEAKY)
def test_a_leaky_model_gets_no_cache_even_if_asked(attention):
    model, prompts = small_model(attention), some_ids(2, 4)
    with_wish = continued(model, prompts, 20, use_cache=True, **GREEDY)
    assert torch.equal(with_wish, continued(model, prompts, 20, **GREEDY))


@pytest.mark.parametrize("context", [2, 3, 8, CONTEXT])
@pytest.mark.parametrize("given", [1, 2, 7, 30])
def test_each_token_sees_half_a_context_at_least(context, given):
    """By hand: a window that grows to the whole context and then drops its older half."""
    model = small_model(max_position_embeddings=context)
    prompts = some_ids(2, given)
    window, expected = prompts[:, -context:], []
    for _ in range(3 * context):
        if window.shape[1] == context:
            window = window[:, -(context // 2) :]
        token = model(window).logits[:, -1].argmax(-1, keepdim=True)
        expected.append(token)
        window = torch.cat([window, token], dim=1)
    assert torch.equal(continued(model, prompts, 3 * context, **GREEDY), torch.cat(expected, 1))


@pytest.mark.parametrize("attention", MECHANISMS)
@pytest.mark.parametrize(
    "way",
    [
        GREEDY,
        SAMPLED,
        {"do_sample": True, "temperature": 0.7, "top_k": 6, "top_p": 0.9},
        {"do_sample": False, "num_beams": 3},
    ],
    ids=["greedy", "sampled", "all-options", "beams"],
)
def test_within_the_context_it_is_generate(attention, way):
    model, prompts = small_model(attention), some_ids(4, 4)
    written = continued(model, prompts, 7, **way)
    set_seed(0)
    expected = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=7,
        pad_token_id=0,
        **way,
    )
    assert torch.equal(written, expected[:, 4:])


@pytest.mark.parametrize("attention", MECHANISMS)
def test_of_a_prompt_longer_than_the_context_only_the_end_counts(attention):
    model, prompts = small_model(attention), some_ids(2, 3 * CONTEXT)
    written = continued(model, prompts, 10, **GREEDY)
    assert torch.equal(continued(model, prompts[:, -CONTEXT:], 10, **GREEDY), written)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_a_context_of_one_is_a_chain_of_single_tokens(attention):
    model = small_model(attention, max_position_embeddings=1)
    prompts = some_ids(2, 3)
    token, expected = prompts[:, -1:], []
    for _ in range(6):
        token = model(token).logits[:, -1].argmax(-1, keepdim=True)
        expected.append(token)
    assert torch.equal(continued(model, prompts, 6, **GREEDY), torch.cat(expected, 1))


def test_beam_search_goes_beyond_the_context_too():
    model, prompts = small_model(), some_ids(2, 4)
    options = {"do_sample": False, "num_beams": 3}
    written = continued(model, prompts, 30, **options)
    assert torch.equal(written, continued(model, prompts, 30, use_cache=False, **options))


def test_a_model_with_an_end_token_still_writes_the_number_asked():
    """A finished row continues with padding while the others keep writing."""
    model = small_model(eos_token_id=3, pad_token_id=0)
    continued(model, some_ids(3, 4), 50, **SAMPLED)


def test_nothing_asked_is_nothing_written():
    assert continue_tokens(small_model(), some_ids(2, 4), 0).shape == (2, 0)


def test_an_empty_prompt_is_an_error():
    with pytest.raises(KetformerError, match="the prompt is empty"):
        continue_tokens(small_model(), some_ids(2, 0), 5)


@pytest.mark.parametrize("way", [GREEDY, SAMPLED, {"num_beams": 2}], ids=["one", "drawn", "beams"])
def test_the_stream_is_the_same_in_pieces(way):
    model, prompts = small_model(), some_ids(2, 4)
    whole = continued(model, prompts, 20, **way)
    set_seed(0)
    pieces = list(stream_tokens(model, prompts, 20, **way))
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    if "num_beams" not in way:
        assert [piece.shape for piece in pieces] == [(2, 1)] * 20
