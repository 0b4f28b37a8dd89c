"""What every mechanism must do, whatever it computes. See conftest.py for the cases."""

import copy

import pytest
import torch
from torch.func import functional_call

from ketformer.attention import ATTENTION, attention_mask
from ketformer.errors import KetformerError
from ketformer.quantum.native import library

from .helpers import GrowingCache, assert_equal_to, build, pad, tokens

LENGTH = 6

# --- Causality ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [{}, {"mask": attention_mask(LENGTH, LENGTH)}, {"return_weights": True}],
    ids=["plain", "mask", "weights"],
)
def test_a_token_reaches_earlier_positions_only_if_the_mechanism_says_so(attention, path):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    before, _ = attention(hidden_states, **path)
    for position in range(LENGTH):
        changed = hidden_states.clone()
        changed[:, position] += tokens(2, 1, attention.hidden_size, seed=1)[:, 0]
        after, _ = attention(changed, **path)
        influence = (after - before).abs().amax(dim=(0, 2))
        assert influence[position] > 1e-4
        if attention.is_causal:
            assert (influence[:position] == 0).all()
        else:
            assert (influence[:position] > 1e-4).all()


def test_a_sequence_does_not_depend_on_its_batch_mates(attention):
    hidden_states = tokens(3, LENGTH, attention.hidden_size)
    mates_changed = torch.cat([hidden_states[:1], 10 * tokens(2, LENGTH, attention.hidden_size)])
    output, _ = attention(hidden_states)
    assert torch.equal(attention(mates_changed)[0][0], output[0])
    assert_equal_to(1e-6, attention(hidden_states[:1])[0][0], output[0])


# --- Padding -----------------------------------------------------------------------------------


def padded_case(attention, side, *, filler_scale=1.0):
    sequences = [tokens(1, n, attention.hidden_size, seed=n)[0] for n in (LENGTH, 3)]
    filler = filler_scale * tokens(2, LENGTH + 2, attention.hidden_size, seed=9)
    batch, is_token = pad(sequences, LENGTH + 2, side, filler)
    return sequences, batch, is_token, attention_mask(LENGTH + 2, LENGTH + 2, padding=is_token)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("return_weights", [False, True])
def test_padded_sequences_equal_the_unpadded(attention, side, return_weights):
    sequences, batch, is_token, mask = padded_case(attention, side)
    output, _ = attention(batch, mask=mask, return_weights=return_weights)
    for row, sequence in enumerate(sequences):
        alone, _ = attention(sequence[None])
        assert_equal_to(1e-5, output[row, is_token[row]], alone[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_content_of_padding_has_no_influence_at_all(attention, side):
    _, batch, is_token, mask = padded_case(attention, side)
    _, other, _, _ = padded_case(attention, side, filler_scale=50)
    assert not torch.equal(batch, other)
    output, changed = (attention(x, mask=mask)[0][is_token] for x in (batch, other))
    assert torch.equal(output, changed)


def test_a_position_that_may_look_nowhere_mixes_nothing(attention):
    _, batch, is_token, mask = padded_case(attention, "left")
    output, _ = attention(batch, mask=mask)
    assert torch.equal(output[~is_token], attention.out_proj.bias.expand_as(output[~is_token]))


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_under_padding_are_finite_and_reach_tokens_only(attention, side):
    _, batch, is_token, mask = padded_case(attention, side)
    batch.requires_grad_()
    attention(batch, mask=mask)[0][is_token].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in [batch, *attention.parameters()])
    assert (batch.grad[~is_token] == 0).all()
    assert (batch.grad[is_token] != 0).any(dim=-1).all()


# --- Cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(1,) * LENGTH, (3, 1, 2), (1, 5)], ids=str)
def test_with_a_cache_equals_without(attention, chunks):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    cache = GrowingCache()
    if not attention.is_causal:  # the cache would lack what is still to come
        with pytest.raises(KetformerError, match=r"sees the future.*use_cache=False"):
            attention(hidden_states, cache=cache)
        return
    steps = [attention(chunk, cache=cache)[0] for chunk in hidden_states.split(chunks, dim=1)]
    assert_equal_to(1e-5, torch.cat(steps, dim=1), attention(hidden_states)[0])


def test_cache_and_left_padding_together(attention):
    sequences, batch, is_token, _ = padded_case(attention, "left")
    cache, steps = GrowingCache(), []
    if not attention.is_causal:
        with pytest.raises(KetformerError, match="sees the future"):
            attention(batch, cache=cache)
        return
    for seen, chunk in zip((4, 7, 8), batch.split((4, 3, 1), dim=1), strict=True):
        length = chunk.shape[1]
        mask = attention_mask(length, seen, offset=seen - length, padding=is_token[:, :seen])
        steps.append(attention(chunk, mask=mask, cache=cache)[0])
    output = torch.cat(steps, dim=1)
    for row, sequence in enumerate(sequences):
        assert_equal_to(1e-5, output[row, is_token[row]], attention(sequence[None])[0][0])


# --- Weights -----------------------------------------------------------------------------------


def test_returned_weights_are_those_that_mix(attention):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    output, weights = attention(hidden_states, return_weights=True)
    fused, nothing = attention(hidden_states)
    assert nothing is None
    assert_equal_to(1e-5, output, fused)
    assert weights.shape == (2, attention.num_heads, LENGTH, LENGTH)
    *_, values = attention.project(hidden_states)
    assert_equal_to(1e-5, attention.out_proj((weights @ values).transpose(1, 2).flatten(2)), output)
    # What a token gives (published, transposed) or takes (causal) sums to one.
    earlier = weights if attention.is_causal else weights.mT
    assert_equal_to(1e-6, earlier.sum(dim=-1), torch.ones(2, attention.num_heads, LENGTH))
    assert (earlier.triu(1) == 0).all()
    assert (earlier >= 0).all()


# --- Training ----------------------------------------------------------------------------------


def test_every_parameter_has_a_gradient(attention):
    output, _ = attention(tokens(2, LENGTH, attention.hidden_size))
    (output * tokens(2, LENGTH, attention.hidden_size, seed=1)).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("name", ATTENTION)
def test_gradients_equal_finite_differences(name):
    attention = build(name, 6, 2).double()
    parameters = dict(attention.named_parameters())
    hidden_states = tokens(1, 3, 6).double().requires_grad_()

    def output(hidden_states, *values):
        replaced = dict(zip(parameters, values, strict=True))
        return functional_call(attention, replaced, hidden_states)[0]

    assert torch.autograd.gradcheck(output, (hidden_states, *parameters.values()))


@pytest.mark.parametrize("return_weights", [False, True])
def test_dropout_acts_in_training_only(build_case, return_weights):
    dropping, plain = build_case(dropout=0.5), build_case()
    hidden_states = tokens(2, LENGTH, plain.hidden_size)
    expected, _ = plain(hidden_states, return_weights=return_weights)
    assert torch.equal(dropping(hidden_states, return_weights=return_weights)[0], expected)
    dropping.train()
    first, second = (dropping(hidden_states, return_weights=return_weights)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_training_can_follow_an_evaluation_in_inference_mode(attention):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    if library() is None:
        # Without the kernels the Gaussian score takes another way where no gradient is wanted,
        # and rounds otherwise: 1e-12 of float64 tells that from another result.
        attention, hidden_states = attention.double(), hidden_states.double()
    with torch.inference_mode():
        expected, _ = attention(hidden_states)
    output, _ = attention(hidden_states)
    output.sum().backward()
    if library() is None:
        torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    else:
        assert torch.equal(output, expected)


# --- Saving, copying, types --------------------------------------------------------------------


def test_a_saved_module_gives_the_same_outputs_when_reloaded(build_case):
    saved, other = build_case(seed=0), build_case(seed=1)
    hidden_states = tokens(2, LENGTH, saved.hidden_size)
    expected, _ = saved(hidden_states)
    assert not torch.equal(other(hidden_states)[0], expected)
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other(hidden_states)[0], expected)
    assert torch.equal(copy.deepcopy(other)(hidden_states)[0], expected)


def test_a_module_made_without_memory_takes_saved_weights(build_case):
    """`from_pretrained` builds on the meta device and then puts the saved tensors in place."""
    saved = build_case()
    with torch.device("meta"):
        empty = build_case(seed=1)
    empty.load_state_dict(saved.state_dict(), assign=True)
    hidden_states = tokens(2, LENGTH, saved.hidden_size)
    assert torch.equal(empty(hidden_states)[0], saved(hidden_states)[0])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05)], ids=str
)
def test_other_float_types_agree_with_float32(attention, dtype, tolerance):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    expected, _ = attention(hidden_states)
    output, _ = attention.to(dtype)(hidden_states.to(dtype))
    assert output.dtype is dtype
    assert_equal_to(tolerance, output.float(), expected)


def test_mixed_precision_agrees_with_float32(attention):
    hidden_states = tokens(2, LENGTH, attention.hidden_size)
    expected, _ = attention(hidden_states)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = attention(hidden_states)
    assert_equal_to(0.05, output.float(), expected)
    output.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in attention.parameters())
