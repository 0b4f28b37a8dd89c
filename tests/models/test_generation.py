"""`generate` of transformers: with the cache and without it, padded and alone, the same tokens."""

import pytest
import torch
from transformers import set_seed

from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM, KetformerModel
from mechanisms import MECHANISMS

from .helpers import CAUSAL, LEAKY, VOCABULARY, pad, small_model, some_ids

every_attention = pytest.mark.parametrize("attention", MECHANISMS)
causal_attention = pytest.mark.parametrize("attention", CAUSAL)
leaky_attention = pytest.mark.parametrize("attention", LEAKY)

WAYS = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "temperature": 1.3},
    "top-k": {"do_sample": True, "top_k": 5},
    "top-p": {"do_sample": True, "top_p": 0.8},
    "beams": {"do_sample": False, "num_beams": 3},
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))


def generate(model, ids, *, new=7, **options):
    """The new tokens alone, ``[B, new]``; sampling is seeded."""
    set_seed(0)
    options = {"attention_mask": torch.ones_like(ids), "pad_token_id": 0, **options}
    written = model.generate(ids, max_new_tokens=new, **options)
    assert torch.equal(written[:, : ids.shape[1]], ids)
    return written[:, ids.shape[1] :]


def count_computed_positions(monkeypatch):
    """A list that collects the number of positions in each forward pass."""
    lengths, forward = [], KetformerModel.forward

    def counting(self, input_ids=None, **kwargs):
        lengths.append(input_ids.shape[1])
        return forward(self, input_ids, **kwargs)

    monkeypatch.setattr(KetformerModel, "forward", counting)
    return lengths


# --- The cache ---------------------------------------------------------------------------------


@causal_attention
@every_way
def test_with_the_cache_equals_without(attention, way):
    model, prompts = small_model(attention), some_ids(3, 4)
    written = generate(model, prompts, use_cache=True, **way)
    assert written.shape == (3, 7)
    assert torch.equal(written, generate(model, prompts, use_cache=False, **way))
    assert len(set(written.flatten().tolist())) > 2  # it does not write one token only


@causal_attention
@pytest.mark.parametrize("way", [WAYS["greedy"], WAYS["sampled"]], ids=["greedy", "sampled"])
def test_a_static_cache_equals_the_dynamic_one(attention, way):
    model, prompts = small_model(attention), some_ids(3, 4)
    static = generate(model, prompts, cache_implementation="static", **way)
    assert torch.equal(static, generate(model, prompts, **way))


@causal_attention
def test_with_the_cache_each_step_computes_one_position(attention, monkeypatch):
    model, lengths = small_model(attention), count_computed_positions(monkeypatch)
    generate(model, some_ids(1, 4), new=3)
    assert lengths == [4, 1, 1]


@leaky_attention
def test_a_leaky_model_computes_everything_anew_at_each_step(attention, monkeypatch):
    model, lengths = small_model(attention), count_computed_positions(monkeypatch)
    generate(model, some_ids(1, 4), new=3)
    assert lengths == [4, 5, 6]


@leaky_attention
@every_way
def test_a_leaky_model_generates_and_refuses_a_cache(attention, way):
    model, prompts = small_model(attention), some_ids(2, 4)
    assert generate(model, prompts, **way).shape == (2, 7)
    with pytest.raises(KetformerError, match="sees the future"):
        generate(model, prompts, use_cache=True, **way)


@leaky_attention
def test_a_reloaded_leaky_model_uses_no_cache_either(tmp_path, attention):
    model = small_model(attention)
    model.save_pretrained(tmp_path)
    loaded = KetformerForCausalLM.from_pretrained(tmp_path)
    assert loaded.generation_config.use_cache is False
    assert torch.equal(generate(loaded, some_ids(2, 4)), generate(model, some_ids(2, 4)))


# --- Against generation by hand ----------------------------------------------------------------


@every_attention
def test_greedy_generation_is_the_most_likely_token_each_time(attention):
    model, prompts = small_model(attention), some_ids(2, 4)
    ids = prompts
    for _ in range(7):
        ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(generate(model, prompts, do_sample=False), ids[:, 4:])


@pytest.mark.parametrize("use_cache", [True, False])
def test_beam_search_finds_the_best_sequence_when_no_beam_is_dropped(use_cache):
    model, prompt = small_model(), some_ids(1, 3)
    pairs = torch.cartesian_prod(torch.arange(VOCABULARY), torch.arange(VOCABULARY))
    log_probs = model(torch.cat([prompt.expand(len(pairs), -1), pairs], 1)).logits.log_softmax(-1)
    scores = log_probs[:, 2].gather(1, pairs[:, :1]) + log_probs[:, 3].gather(1, pairs[:, 1:])
    options = {"do_sample": False, "num_beams": VOCABULARY, "use_cache": use_cache}
    assert torch.equal(generate(model, prompt, new=2, **options)[0], pairs[scores.argmax()])


@every_attention
def test_sampling_repeats_with_its_seed_only(attention):
    model, prompts = small_model(attention), some_ids(4, 4)
    first = generate(model, prompts, do_sample=True, top_k=0)
    assert torch.equal(generate(model, prompts, do_sample=True, top_k=0), first)
    set_seed(1)
    mask = torch.ones_like(prompts)
    other = model.generate(
        prompts, attention_mask=mask, max_new_tokens=7, do_sample=True, top_k=0, pad_token_id=0
    )
    assert not torch.equal(other[:, 4:], first)


# --- Batches -----------------------------------------------------------------------------------


@every_attention
@pytest.mark.parametrize("way", [WAYS["greedy"], WAYS["beams"]], ids=["greedy", "beams"])
def test_left_padded_prompts_continue_as_they_do_alone(attention, way):
    model = small_model(attention)
    prompts = [some_ids(1, length, seed=length)[0] for length in (5, 3, 1)]
    ids, mask = pad(prompts, 5, "left")
    together = generate(model, ids, attention_mask=mask, **way)
    for row, prompt in enumerate(prompts):
        assert torch.equal(together[row], generate(model, prompt[None], **way)[0])


@causal_attention
def test_left_padding_and_the_static_cache_together(attention):
    model = small_model(attention)
    ids, mask = pad([some_ids(1, 5)[0], some_ids(1, 2)[0]], 5, "left")
    static = generate(model, ids, attention_mask=mask, cache_implementation="static")
    assert torch.equal(static, generate(model, ids, attention_mask=mask, use_cache=False))


def test_a_finished_sequence_is_filled_with_padding():
    model, prompts = small_model(), some_ids(3, 4)
    free = generate(model, prompts, do_sample=False)
    stop = int(free[0, 2])
    stopped = generate(model, prompts, do_sample=False, eos_token_id=stop, pad_token_id=1)
    for row, expected in zip(stopped.tolist(), free.tolist(), strict=True):
        end = expected.index(stop) + 1 if stop in expected else len(row)
        assert row[:end] == expected[: min(end, len(row))]
        assert set(row[end:]) <= {1}
