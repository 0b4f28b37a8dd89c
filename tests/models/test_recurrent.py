"""Models whose layers keep a state: generation, beams, padding, other caches, what is refused."""

import pytest
import torch
from transformers.cache_utils import DynamicCache, StaticCache

from ketformer.errors import NotOfferedError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.state_cache import StateLayer

RECURRENT = ["classical_gated_linear", "pam", "qsa_cp"]
#: The state comes first, so that sizes cannot be read off the first layer of a cache.
HYBRID = ["pam", "classical"]


def model(attention="classical_gated_linear", **keys):
    torch.manual_seed(0)
    config = KetformerConfig(
        attention=attention,
        vocab_size=31,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        positions=keys.pop("positions", "rotary"),
        pad_token_id=0,
        **keys,
    )
    return KetformerForCausalLM(config).double().eval()


def prompt(batch=3, length=7):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 31, (batch, length), generator=generator)


def padded():
    """Two prompts of different lengths in one batch, padded on the left."""
    ids = prompt(2)
    ids[1, :3] = 0
    return ids, (ids != 0).long()


@pytest.mark.parametrize("attention", [*RECURRENT, HYBRID], ids=str)
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_generation_with_a_state_equals_generation_without(attention, how):
    made = model(attention)
    ids, mask = padded()
    given = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    with_state = made.generate(ids, **given, **how)
    how = {key: value for key, value in how.items() if key == "num_beams"}
    assert torch.equal(with_state, made.generate(ids, **given, **how, use_cache=False))
    # The second row alone, without its padding.
    alone = made.generate(ids[1:, 3:], **{**given, "attention_mask": mask[1:, 3:]}, **how)
    assert torch.equal(with_state[1:, 3:], alone)


@pytest.mark.parametrize("attention", [*RECURRENT, "quixer"])
def test_a_static_cache_keeps_its_tensors(attention):
    """A graph of a GPU runs on the same memory again, and overwrites what it has returned."""
    made = model(attention, positions="learned")
    ids = prompt()
    cache = StaticCache(made.config, max_cache_len=16)
    with torch.no_grad():
        made(ids[:, :4], past_key_values=cache)
        states = [layer.state for layer in cache.layers]
        for place in range(4, 7):
            logits = made(ids[:, place : place + 1], past_key_values=cache).logits
        whole = made(ids).logits[:, -1:]
    for layer, state in zip(cache.layers, states, strict=True):
        assert all(now is then for now, then in zip(layer.state, state, strict=True))
    torch.testing.assert_close(logits, whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("attention", ["pam", HYBRID], ids=str)
@pytest.mark.parametrize("positions", ["rotary", "learned", "none"])
def test_logits_in_parts_equal_those_of_one_pass(attention, positions):
    made = model(attention, positions=positions)
    ids, mask = padded()
    with torch.no_grad():
        whole = made(ids, attention_mask=mask).logits
        cache, parts = DynamicCache(), []
        for begin, end in ((0, 4), (4, 5), (5, 7)):
            out = made(ids[:, begin:end], attention_mask=mask[:, :end], past_key_values=cache)
            parts.append(out.logits)
    found = torch.cat(parts, dim=1)
    torch.testing.assert_close(found[mask.bool()], whole[mask.bool()], atol=1e-10, rtol=0)
    assert cache.get_seq_length() == 7


def test_padding_leaves_no_trace_in_the_state():
    made = model("pam")
    ids, mask = padded()
    states = []
    for rows, begin in ((slice(None), 0), (slice(1, 2), 3)):
        cache = DynamicCache()
        made(ids[rows, begin:], attention_mask=mask[rows, begin:], past_key_values=cache)
        states.append([layer.state[0][-1] for layer in cache.layers])
    for together, alone in zip(*states, strict=True):
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
        assert together.any()


def test_a_state_has_a_fixed_size_and_follows_the_batch():
    made, cache = model("qsa_cp"), DynamicCache()
    made(prompt(), past_key_values=cache)
    (before,) = cache.layers[0].state
    made(prompt(), past_key_values=cache)
    (after,) = cache.layers[0].state
    assert before.shape == after.shape
    assert cache.get_seq_length() == 14
    cache.batch_repeat_interleave(2)
    cache.reorder_cache(torch.tensor([5, 5, 0, 1]))
    (state,) = cache.layers[0].state
    assert torch.equal(state, after[[2, 2, 0, 0]])
    cache.batch_select_indices(torch.tensor([2]))
    assert torch.equal(cache.layers[0].state[0], after[:1])
    cache.reset()
    assert cache.get_seq_length() == 0
    assert cache.layers[0].state is None


def test_a_state_cannot_go_back():
    made, cache = model(), DynamicCache()
    made(prompt(), past_key_values=cache)
    cache.crop(0)
    with pytest.raises(NotOfferedError, match="cannot go back to an earlier position"):
        cache.crop(-1)
    with pytest.raises(NotOfferedError, match="cannot go back"):
        made.generate(prompt(1), prompt_lookup_num_tokens=2, max_new_tokens=20, do_sample=False)
    with pytest.raises(NotOfferedError, match="not keys and values"):
        StateLayer().update(torch.ones(1), torch.ones(1))


def test_there_are_no_weights_to_return():
    hybrid, ids = model(HYBRID), prompt(1)
    with pytest.raises(NotOfferedError, match=r"pam\+classical keeps a state in some layers"):
        hybrid(ids, output_attentions=True)
    expected = hybrid(ids).logits
    hybrid.set_attn_implementation("eager")  # the layers that have weights compute them
    torch.testing.assert_close(hybrid(ids).logits, expected, atol=1e-12, rtol=0)


def test_a_state_learns():
    """One long training sequence, of several chunks; all parameters move."""
    made = model("pam", positions="none").train()
    ids = prompt(2, 150)
    made(ids, labels=ids).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.parameters())
