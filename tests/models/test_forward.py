"""One forward pass: losses, padding, cache, what else it returns, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache

from ketformer.errors import KetformerError
from mechanisms import MECHANISMS, WITH_WEIGHTS

from .helpers import (
    CAUSAL,
    CONTEXT,
    LEAKY,
    VOCABULARY,
    assert_alike,
    in_both_types,
    pad,
    small_model,
    some_ids,
)

every_attention = pytest.mark.parametrize("attention", MECHANISMS)
causal_attention = pytest.mark.parametrize("attention", CAUSAL)
leaky_attention = pytest.mark.parametrize("attention", LEAKY)


def test_there_are_causal_and_leaky_mechanisms():
    assert set(LEAKY) == {"qisa_published", "qisa_a_published"}
    assert {name for name in MECHANISMS if not small_model(name).is_causal} == set(LEAKY)


# --- Losses ------------------------------------------------------------------------------------


@every_attention
def test_labels_are_shifted_inside_and_shift_labels_are_not(attention):
    model, ids = small_model(attention), some_ids(3, 8)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    with_shift_labels = model(inputs, shift_labels=targets)
    by_hand = F.cross_entropy(with_shift_labels.logits.flatten(0, 1), targets.flatten())
    assert_alike(with_shift_labels.loss, by_hand)
    with_labels = model(inputs, labels=inputs)
    by_hand = F.cross_entropy(with_labels.logits[:, :-1].flatten(0, 1), inputs[:, 1:].flatten())
    assert_alike(with_labels.loss, by_hand)
    assert model(inputs).loss is None


@pytest.mark.parametrize("key", ["labels", "shift_labels"])
def test_targets_of_minus_100_do_not_count(key):
    model, ids = small_model(), some_ids(2, 6)
    ignored = ids.clone()
    ignored[1, 2:] = -100
    output = model(ids, **{key: ignored})
    losses = []
    for row in range(2):
        for position in range(6):
            column = position + (key == "labels")  # where that position's target stands
            if column < 6 and ignored[row, column] != -100:
                target = ignored[row, column]
                losses.append(F.cross_entropy(output.logits[row, position], target))
    assert len(losses) == (6 if key == "labels" else 8)
    assert_alike(output.loss, torch.stack(losses).mean())


@in_both_types
def test_num_items_in_batch_makes_the_loss_a_sum_over_that_many():
    """Trainer passes it, so that accumulated batches weigh each target alike."""
    model, ids = small_model(), some_ids(2, 6)
    mean = model(ids, shift_labels=ids).loss
    assert_alike(model(ids, shift_labels=ids, num_items_in_batch=24).loss, mean / 2)


# --- Padding -----------------------------------------------------------------------------------


@in_both_types
@every_attention
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_its_sequences_alone(attention, side):
    model = small_model(attention)
    sequences = [some_ids(1, length, seed=length)[0] for length in (9, 4, 1)]
    ids, mask = pad(sequences, 10, side)
    logits = model(ids, attention_mask=mask).logits
    assert logits.isfinite().all()
    for row, sequence in enumerate(sequences):
        alone = model(sequence[None]).logits[0]
        assert_alike(logits[row, mask[row].bool()], alone)


@every_attention
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_ids_under_padding_do_not_matter(attention, side):
    model = small_model(attention)
    ids, mask = pad([some_ids(1, 5)[0], some_ids(1, 3)[0]], 7, side)
    other = torch.where(mask.bool(), ids, VOCABULARY - 1)
    assert not torch.equal(ids, other)
    first, second = (model(x, attention_mask=mask).logits[mask.bool()] for x in (ids, other))
    assert torch.equal(first, second)


@in_both_types
@every_attention
def test_a_mask_of_ones_is_no_mask(attention):
    model, ids = small_model(attention), some_ids(2, 6)
    masked = model(ids, attention_mask=torch.ones_like(ids)).logits
    assert_alike(masked, model(ids).logits)


# --- Cache -------------------------------------------------------------------------------------


@in_both_types
@causal_attention
@pytest.mark.parametrize("chunks", [(1,) * 8, (5, 1, 2)], ids=str)
def test_with_the_cache_equals_without(attention, chunks):
    model, ids = small_model(attention), some_ids(2, 8)
    cache, logits = DynamicCache(), []
    for chunk in ids.split(chunks, dim=1):
        output = model(chunk, past_key_values=cache)
        assert output.past_key_values is cache
        logits.append(output.logits)
    assert cache.get_seq_length() == 8
    assert_alike(torch.cat(logits, dim=1), model(ids).logits)


@in_both_types
@causal_attention
def test_the_cache_and_left_padding_together(attention):
    """Positions count from each row's first token, in the cached part too."""
    model = small_model(attention)
    ids, mask = pad([some_ids(1, 8)[0], some_ids(1, 5)[0]], 8, "left")
    cache, logits = DynamicCache(), []
    for end, chunk in zip((4, 7, 8), ids.split((4, 3, 1), dim=1), strict=True):
        output = model(chunk, attention_mask=mask[:, :end], past_key_values=cache)
        logits.append(output.logits)
    expected = model(ids, attention_mask=mask).logits[mask.bool()]
    assert_alike(torch.cat(logits, dim=1)[mask.bool()], expected)


@causal_attention
def test_a_cache_is_returned_in_evaluation_and_not_in_training(attention):
    model, ids = small_model(attention), some_ids(2, 4)
    assert model(ids).past_key_values.get_seq_length() == 4
    assert model(ids, use_cache=False).past_key_values is None
    assert model.train()(ids).past_key_values is None


@leaky_attention
def test_a_leaky_model_never_makes_a_cache_and_refuses_one(attention):
    model, ids = small_model(attention), some_ids(2, 4)
    assert model(ids).past_key_values is None
    for wish in ({"use_cache": True}, {"past_key_values": DynamicCache()}):
        with pytest.raises(KetformerError, match=r"sees the future.*use_cache=False"):
            model(ids, **wish)


# --- What else is returned ---------------------------------------------------------------------


@every_attention
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_hidden_states_are_the_embeddings_and_each_layers_output(attention, norm_position):
    model, ids = small_model(attention, norm_position=norm_position), some_ids(2, 5)
    output = model(ids, output_hidden_states=True)
    assert [tuple(h.shape) for h in output.hidden_states] == [(2, 5, 16)] * 3
    embedded = model.model.embed_tokens(ids) + model.model.embed_positions.weight[:5]
    assert torch.equal(output.hidden_states[0], embedded)
    assert torch.equal(model.lm_head(output.hidden_states[-1]), output.logits)
    assert model(ids).hidden_states is None


@in_both_types
@pytest.mark.parametrize("attention", WITH_WEIGHTS)
def test_attention_weights_are_distributions_over_what_may_be_seen(attention):
    model, ids = small_model(attention), some_ids(2, 5)
    output = model(ids, output_attentions=True)
    assert len(output.attentions) == 2
    for weights in output.attentions:
        assert weights.shape == (2, 2, 5, 5)
        # A causal row is what a position takes; a leaky column is what a position gives.
        row = weights if model.is_causal else weights.mT
        assert_alike(row.sum(-1), torch.ones(2, 2, 5))
        assert (row.triu(1) == 0).all()
        assert (row >= 0).all()
    assert_alike(output.logits, model(ids).logits)
    assert model(ids).attentions is None


@in_both_types
@pytest.mark.parametrize("attention", [name for name in CAUSAL if name in WITH_WEIGHTS])
def test_attention_weights_reach_into_the_cache(attention):
    model, ids = small_model(attention), some_ids(2, 6)
    whole = model(ids, output_attentions=True).attentions
    past = model(ids[:, :4]).past_key_values
    rest = model(ids[:, 4:], past_key_values=past, output_attentions=True).attentions
    for expected, weights in zip(whole, rest, strict=True):
        assert_alike(weights, expected[:, :, 4:])


@in_both_types
@pytest.mark.parametrize("keep", [1, 3, torch.tensor([0, 4])], ids=str)
def test_logits_to_keep_computes_only_those(keep):
    model, ids = small_model(), some_ids(2, 5)
    logits = model(ids).logits
    expected = logits[:, -keep:] if isinstance(keep, int) else logits[:, keep]
    assert_alike(model(ids, logits_to_keep=keep).logits, expected)


def test_return_dict_false_gives_a_tuple():
    model, ids = small_model(), some_ids(2, 5)
    loss, logits, *_ = model(ids, labels=ids, return_dict=False)
    assert loss.ndim == 0
    assert torch.equal(logits, model(ids).logits)


@every_attention
def test_embeddings_instead_of_ids(attention):
    model, ids = small_model(attention), some_ids(2, 5)
    embeds = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=embeds).logits, model(ids).logits)


def test_position_ids_can_be_given():
    model, ids = small_model(), some_ids(2, 5)
    counted = torch.arange(5)[None]
    assert torch.equal(model(ids, position_ids=counted).logits, model(ids).logits)
    assert not torch.equal(model(ids, position_ids=counted + 1).logits, model(ids).logits)


# --- What is refused ---------------------------------------------------------------------------


@every_attention
def test_the_whole_context_works_and_one_token_more_does_not(attention):
    model = small_model(attention)
    assert model(some_ids(1, CONTEXT)).logits.shape == (1, CONTEXT, VOCABULARY)
    with pytest.raises(KetformerError, match=f"{CONTEXT + 1} tokens are longer than .* {CONTEXT}"):
        model(some_ids(1, CONTEXT + 1))


def test_a_full_cache_takes_no_further_token():
    model = small_model()
    past = model(some_ids(1, CONTEXT)).past_key_values
    with pytest.raises(KetformerError, match=f"{CONTEXT + 1} tokens"):
        model(some_ids(1, 1), past_key_values=past)


def test_ids_and_embeddings_exclude_each_other():
    model, ids = small_model(), some_ids(1, 3)
    with pytest.raises(KetformerError, match="exactly one"):
        model(ids, inputs_embeds=model.get_input_embeddings()(ids))
    with pytest.raises(KetformerError, match="exactly one"):
        model()
