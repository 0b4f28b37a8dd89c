"""Models with ``token_shift`` generate the same with a cache, padded, in beams and reloaded."""

import pytest
import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM

from .helpers import assert_alike, pad, small_model, some_ids
from .test_generation import every_way, generate

both = pytest.mark.parametrize("attention", ["classical", "overlap"])


def shifting(attention, seed=0):
    return small_model(attention, seed=seed, attention_options={"token_shift": True})


@both
@every_way
def test_with_a_cache_equals_without(attention, way):
    model, prompts = shifting(attention), some_ids(3, 4)
    written = generate(model, prompts, use_cache=False, **way)
    assert torch.equal(generate(model, prompts, use_cache=True, **way), written)
    assert torch.equal(generate(model, prompts, past_key_values=DynamicCache(), **way), written)
    assert not torch.equal(written, generate(small_model(attention), prompts, **way))


@both
def test_a_static_cache_and_assisted_decoding_equal_the_plain_one(attention):
    model, prompts = shifting(attention), some_ids(1, 4)
    written = generate(model, prompts)
    assert torch.equal(generate(model, prompts, cache_implementation="static"), written)
    # The assistant's rejected tokens are cropped from the cache.
    assistant = shifting(attention, seed=1)
    assert torch.equal(generate(model, prompts, assistant_model=assistant), written)


@both
@pytest.mark.parametrize("cache", [None, "static"])
def test_padded_on_the_left_equals_alone(attention, cache):
    model, prompts = shifting(attention), [some_ids(1, n, seed=n)[0] for n in (5, 2)]
    ids, mask = pad(prompts, 6, "left")
    how = {} if cache is None else {"cache_implementation": cache}
    together = generate(model, ids, new=5, attention_mask=mask, **how)
    for row, prompt in enumerate(prompts):
        assert torch.equal(together[row], generate(model, prompt[None], new=5)[0])


def test_in_parts_after_padding_equals_alone():
    model, prompts = shifting("classical"), [some_ids(1, n, seed=n)[0] for n in (7, 2)]
    ids, mask = pad(prompts, 8, "left")
    cache, logits = DynamicCache(), []
    with torch.inference_mode():
        for begin, end in ((0, 3), (3, 7), (7, 8)):
            out = model(ids[:, begin:end], attention_mask=mask[:, :end], past_key_values=cache)
            logits.append(out.logits)
        for row, prompt in enumerate(prompts):
            alone = model(prompt[None]).logits[0]
            assert_alike(torch.cat(logits, dim=1)[row, mask[row].bool()], alone)


@both
def test_a_reloaded_model_shifts_too(tmp_path, attention):
    model = shifting(attention)
    model.save_pretrained(tmp_path)
    loaded = KetformerForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(some_ids(2, 5)).logits, model(some_ids(2, 5)).logits)


def test_a_cache_that_hides_the_last_position_is_refused():
    class Hiding(DynamicLayer):
        def update(self, *args, **kwargs):
            found = super().update(*args, **kwargs)
            self.values = self.values[..., :0, :]
            return found

        def get_seq_length(self):
            return self.keys.shape[-2] if self.is_initialized else 0

    model, cache = shifting("classical"), Cache(layer_class_to_replicate=Hiding)
    model(some_ids(1, 3), past_key_values=cache)
    with pytest.raises(KetformerError, match="cannot read the last position from a Hiding"):
        model(some_ids(1, 1), past_key_values=cache)
