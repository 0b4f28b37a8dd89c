"""Models whose positions are rotary, alibi or none: padded, cached, saved, exported, refused."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from ketformer.audit import audit_causality
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.checks import least_parameters
from mechanisms import WITH_WEIGHTS

from .helpers import (
    CAUSAL,
    CONTEXT,
    LEAKY,
    VOCABULARY,
    assert_alike,
    pad,
    small_config,
    small_model,
    some_ids,
)

KINDS = ("rotary", "alibi", "none")
OPTIONS = {"qsann": {"encoding": "angle", "n_qubits": 2}, "overlap": {"n_qubits": 3}}
every_kind = pytest.mark.parametrize("positions", KINDS)
# Without positions there is nothing in a mechanism that could go wrong.
MODELS = [(name, "rotary") for name in CAUSAL] + [("overlap", "none")]
MODELS += [(name, "alibi") for name in CAUSAL if name in WITH_WEIGHTS]
every_model = pytest.mark.parametrize(("name", "positions"), MODELS)


def built(name, positions, **changes):
    options = {"attention_options": OPTIONS.get(name), "positions": positions}
    return small_model(name, **{**options, **changes})


def generate(model, ids, **options):
    mask = options.pop("attention_mask", torch.ones_like(ids))
    given = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    return model.generate(ids, attention_mask=mask, **given, **options)[:, ids.shape[1] :]


@every_model
def test_padded_and_cached_generation_is_that_of_each_prompt_alone(name, positions):
    model = built(name, positions)
    prompts = [some_ids(1, length, seed=length)[0] for length in (4, 2)]
    ids, mask = pad(prompts, 4, "left")
    beams = generate(model, ids, attention_mask=mask, num_beams=2)
    static = generate(model, ids, attention_mask=mask, cache_implementation="static")
    for row, prompt in enumerate(prompts):
        alone = generate(model, prompt[None], use_cache=False)[0]
        assert torch.equal(static[row], alone)
        alone = generate(model, prompt[None], use_cache=False, num_beams=2)[0]
        assert torch.equal(beams[row], alone)


@every_model
def test_a_model_is_the_same_however_it_is_made_and_run(tmp_path, name, positions):
    model = built(name, positions, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    ids, mask = pad([some_ids(1, 6)[0], some_ids(1, 3, seed=1)[0]], 6, "left")
    real = mask.bool()
    expected = model(ids, attention_mask=mask).logits
    model.save_pretrained(tmp_path)
    assert not any("embed_positions" in key for key in model.state_dict())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (loaded.config.positions, loaded.config.rotary_base) == (positions, 10_000.0)
    assert torch.equal(loaded(ids, attention_mask=mask).logits, expected)
    embeds = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=embeds, attention_mask=mask).logits, expected)
    loaded.set_attn_implementation("eager")
    assert_alike(loaded(ids, attention_mask=mask).logits[real], expected[real], steps=512)
    right, right_mask = pad([ids[0], ids[1, 3:]], 7, "right")
    found = model(right, attention_mask=right_mask).logits[right_mask.bool()]
    assert_alike(found, expected[real], steps=512)
    half = model.to(torch.bfloat16)(ids, attention_mask=mask).logits[real]
    assert float((half.float() - expected[real]).detach().abs().mean()) < 0.1
    assert model.to("meta")(ids.to("meta")).logits.shape == (2, 6, VOCABULARY)
    gradients = []
    for recompute in (False, True):
        if recompute:
            loaded.gradient_checkpointing_enable()
        loaded.zero_grad()
        loaded.train()(ids, attention_mask=mask, labels=ids).loss.backward()
        gradients.append({n: p.grad for n, p in loaded.named_parameters() if p.grad is not None})
    for key, gradient in gradients[0].items():
        assert_alike(gradients[1][key], gradient, steps=256)


@pytest.mark.parametrize(
    ("name", "positions"),
    [("classical", "rotary"), ("classical", "alibi"), ("overlap", "rotary")],
)
def test_an_exported_program_gives_the_same_logits(name, positions):
    options = {"n_qubits": 2} if name == "overlap" else {}
    small = {"num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 1}
    model = built(name, positions, attention_options=options, **small)
    size = {0: torch.export.Dim("rows", max=64), 1: torch.export.Dim("tokens", min=2, max=12)}
    program = torch.export.export(
        model,
        (),
        {"input_ids": some_ids(2, 5), "use_cache": False},
        dynamic_shapes={"input_ids": size, "use_cache": None},
    )
    other = some_ids(3, 7, seed=1)
    logits = program.module()(input_ids=other, use_cache=False).logits
    assert_alike(logits, model(other).logits, steps=512)


@every_kind
def test_they_are_causal(positions):
    for name in ("classical", "overlap"):
        audit = audit_causality(built(name, positions), sequences=2)
        assert audit.causal
        assert audit.max_past_influence > 0.01


def test_without_positions_the_order_of_earlier_tokens_is_not_seen():
    ids = some_ids(1, 6)
    swapped = ids[:, [3, 1, 0, 4, 2, 5]]
    for positions, seen in (("none", False), ("learned", True), ("rotary", True), ("alibi", True)):
        model = built("classical", positions, num_hidden_layers=1)
        change = (model(swapped).logits - model(ids).logits)[:, -1].detach().abs().max()
        assert (float(change) > 1e-4) == seen


def test_positions_can_be_given():
    ids, places = some_ids(1, 5), torch.arange(5)[None]
    model = built("classical", "rotary")
    expected = model(ids).logits
    assert_alike(model(ids, position_ids=places + 7).logits, expected, steps=512)
    assert not torch.allclose(model(ids, position_ids=3 * places).logits, expected, atol=1e-3)


@every_kind
def test_sequences_may_be_longer_than_the_context_unless_positions_are_learned(positions):
    ids = some_ids(1, CONTEXT + 3)
    assert built("classical", positions)(ids).logits.shape == (1, CONTEXT + 3, VOCABULARY)
    with pytest.raises(KetformerError, match="longer than the model's context of 12"):
        built("classical", "learned")(ids)


def test_a_configuration_without_the_key_means_learned(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    old = json.loads(path.read_text())
    del old["positions"], old["rotary_base"]
    path.write_text(json.dumps(old))
    loaded = KetformerForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.positions == "learned"
    assert torch.equal(loaded(some_ids(1, 5)).logits, model(some_ids(1, 5)).logits)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"positions": "sinusoidal"}, "positions"),
        ({"rotary_base": 0}, "rotary_base must be positive and finite, got 0"),
        ({"rotary_base": float("inf")}, "rotary_base must be positive"),
        ({"rotary_base": "large"}, "rotary_base"),
    ],
)
def test_nonsense_is_refused(changes, told):
    with pytest.raises(KetformerError, match=told) as caught:
        KetformerConfig(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LEAKY)
def test_published_mechanisms_keep_the_positions_of_their_papers(name):
    with pytest.raises(NotOfferedError, match=f"{name} is as released, so it needs positions=lear"):
        built(name, "rotary")


def test_the_base_reaches_the_attention():
    ids = some_ids(1, 8)
    one, other = (built("classical", "rotary", rotary_base=base) for base in (10_000.0, 3))
    assert not torch.allclose(one(ids).logits, other(ids).logits, atol=1e-3)


def test_there_is_no_table():
    learned, rotary = (small_model(positions=p).num_parameters() for p in ("learned", "rotary"))
    assert learned - rotary == CONTEXT * 16
    needed = [least_parameters(small_config(positions=p)) for p in ("learned", "rotary")]
    assert needed[0] - needed[1] == CONTEXT * 16
