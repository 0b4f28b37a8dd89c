"""GPT-1's weights: the same logits in our decoder, and a start for every other attention."""

import pytest
import torch
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from ketformer.models import KetformerForCausalLM, from_openai_gpt
from mechanisms import MECHANISMS

from .helpers import assert_alike, assert_equal_to, in_both_types, pad

SMALL_GPT = {"vocab_size": 29, "n_positions": 10, "n_embd": 12, "n_layer": 2, "n_head": 3}


def openai_gpt(**config):
    """A randomly initialised GPT-1; biases and norms are random too, so that each one matters.

    A small one gets large weights, so that the forms of GELU differ by more than rounding.
    """
    torch.manual_seed(0)
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or ".ln_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
            elif config and ".h." in name:
                parameter.mul_(15)
    return model


def random_ids(model, batch, length):
    return torch.randint(model.config.vocab_size, (batch, length))


@torch.inference_mode()
def test_logits_agree_at_full_gpt1_size():
    theirs = openai_gpt()  # transformers' default is GPT-1
    config = theirs.config
    assert (config.n_layer, config.n_embd, config.n_head) == (12, 768, 12)
    assert (config.vocab_size, config.n_positions) == (40_478, 512)
    ours, missing = from_openai_gpt(theirs)
    assert missing == []
    assert ours.num_parameters() == theirs.num_parameters()
    ids = random_ids(theirs, 1, 512)
    expected = theirs(ids).logits
    assert expected.abs().max() > 1  # so that 1e-4 is a strict bound
    assert_equal_to(1e-4, ours(ids).logits, expected)


@in_both_types
@pytest.mark.parametrize("afn", ["gelu", "relu"])
def test_logits_agree_at_small_size(afn):
    theirs = openai_gpt(**SMALL_GPT, afn=afn)
    ours, missing = from_openai_gpt(theirs)
    assert missing == []
    assert not ours.training
    ids = random_ids(theirs, 3, 10)
    assert_alike(ours(ids).logits, theirs(ids).logits)


@in_both_types
def test_logits_agree_under_right_padding():
    """On the tokens; theirs counts positions from the start of the row, so left padding differs."""
    theirs = openai_gpt(**SMALL_GPT)
    ours, _ = from_openai_gpt(theirs)
    ids, mask = pad([random_ids(theirs, 1, length)[0] for length in (9, 4)], 9, "right")
    expected = theirs(ids, attention_mask=mask).logits[mask.bool()]
    assert_alike(ours(ids, attention_mask=mask).logits[mask.bool()], expected)


@in_both_types
def test_logits_agree_under_left_padding_with_our_positions():
    theirs = openai_gpt(**SMALL_GPT)
    ours, _ = from_openai_gpt(theirs)
    ids, mask = pad([random_ids(theirs, 1, length)[0] for length in (9, 4)], 9, "left")
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    expected = theirs(ids, attention_mask=mask, position_ids=positions).logits[mask.bool()]
    assert_alike(ours(ids, attention_mask=mask).logits[mask.bool()], expected)


@in_both_types
def test_the_losses_agree():
    theirs = openai_gpt(**SMALL_GPT)
    ours, _ = from_openai_gpt(theirs)
    ids = random_ids(theirs, 3, 10)
    assert_alike(ours(ids, labels=ids).loss, theirs(ids, labels=ids).loss)


@pytest.mark.parametrize("attention", [name for name in MECHANISMS if name != "classical"])
def test_another_attention_keeps_what_it_shares_and_names_what_is_new(attention):
    theirs = openai_gpt(**SMALL_GPT)
    ours, missing = from_openai_gpt(theirs, attention=attention)
    assert ours.config.attention == attention
    parameters = dict(ours.named_parameters())
    shares_queries = hasattr(ours.model.layers[0].attention, "qk_proj")
    new = {
        name
        for name in parameters
        if ".attention." in name
        and "out_proj" not in name
        and not (shares_queries and "qk_proj" in name)
    }
    assert set(missing) == new
    assert len(new) > 0
    given = theirs.state_dict()
    for layer in range(2):
        theirs_at, ours_at = f"transformer.h.{layer}", f"model.layers.{layer}"
        for ours_name, expected in {
            "mlp.up_proj.weight": given[f"{theirs_at}.mlp.c_fc.weight"].T,
            "attention.out_proj.bias": given[f"{theirs_at}.attn.c_proj.bias"],
            "mlp_norm.weight": given[f"{theirs_at}.ln_2.weight"],
        }.items():
            assert torch.equal(parameters[f"{ours_at}.{ours_name}"], expected)
        if shares_queries:
            queries_and_keys = given[f"{theirs_at}.attn.c_attn.weight"].T[: 2 * 12]
            ours_qk = parameters[f"{ours_at}.attention.qk_proj.weight"]
            assert torch.equal(ours_qk, queries_and_keys)
    assert ours(random_ids(theirs, 2, 10)).logits.isfinite().all()


def test_qisa_and_qisa_a_share_queries_and_keys_with_gpt1():
    theirs = openai_gpt(**SMALL_GPT)
    for attention in ("qisa", "qisa_a"):
        _, missing = from_openai_gpt(theirs, attention=attention)
        assert not any("qk_proj" in name for name in missing)


def test_the_mechanisms_options_are_passed_on():
    ours, _ = from_openai_gpt(openai_gpt(**SMALL_GPT), "qisa", {"hilbert_dim": 7})
    assert ours.config.attention_options == {"hilbert_dim": 7}
    assert ours.model.layers[0].attention.hilbert_dim == 7


@in_both_types
def test_from_a_folder_and_back_to_one(tmp_path):
    theirs = openai_gpt(**SMALL_GPT)
    theirs.save_pretrained(tmp_path / "theirs")
    ours, missing = from_openai_gpt(str(tmp_path / "theirs"))
    assert missing == []
    ours.save_pretrained(tmp_path / "ours")
    ids = random_ids(theirs, 2, 10)
    assert_alike(ours(ids).logits, theirs(ids).logits)
    reloaded = KetformerForCausalLM.from_pretrained(tmp_path / "ours")
    assert torch.equal(reloaded(ids).logits, ours(ids).logits)


def test_the_imported_weights_are_a_copy():
    theirs = openai_gpt(**SMALL_GPT)
    ours, _ = from_openai_gpt(theirs)
    before = theirs.transformer.tokens_embed.weight.detach().clone()
    with torch.no_grad():
        ours.model.embed_tokens.weight.zero_()
    assert torch.equal(theirs.transformer.tokens_embed.weight, before)
    assert ours.lm_head.weight is ours.model.embed_tokens.weight
