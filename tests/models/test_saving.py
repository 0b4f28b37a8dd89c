"""A saved model is the same model when it is reloaded, whichever class loads it."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM, KetformerModel
from mechanisms import MECHANISMS

from .helpers import has_pauli_strings, small_config, small_model, some_ids

RANDOM_STRINGS = [("qsann", {"observables": "random"}), ("qisa_a", {"observables": "random"})]
MODELS = [(name, {}) for name in MECHANISMS] + RANDOM_STRINGS


def strings_of(model):
    return {k: v for k, v in model.state_dict().items() if k.endswith("codes")}


@pytest.mark.parametrize(("attention", "options"), MODELS, ids=str)
@pytest.mark.parametrize("load", [KetformerForCausalLM, AutoModelForCausalLM], ids=["own", "auto"])
def test_a_reloaded_model_gives_the_same_logits_bit_for_bit(tmp_path, attention, options, load):
    saved = small_model(attention, attention_options=options, seed=1)
    saved.save_pretrained(tmp_path)
    torch.manual_seed(2)  # fresh weights and strings would differ
    loaded = load.from_pretrained(tmp_path)
    assert type(loaded) is KetformerForCausalLM
    assert not loaded.training
    assert bool(strings_of(saved)) == has_pauli_strings(attention)
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert torch.equal(loaded(some_ids(3, 7)).logits, saved(some_ids(3, 7)).logits)


def test_only_mechanisms_that_measure_no_values_have_no_strings():
    without = {name for name in MECHANISMS if not has_pauli_strings(name)}
    assert without == {name for name in MECHANISMS if name.startswith("classical")} | {"overlap"}


@pytest.mark.parametrize("attention", MECHANISMS)
def test_weights_and_strings_are_safetensors_and_nothing_is_pickled(tmp_path, attention):
    model = small_model(attention)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "modeling_ketformer.py",
    }
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == set(model.state_dict())


@pytest.mark.parametrize("load", [KetformerForCausalLM, AutoModelForCausalLM], ids=["own", "auto"])
def test_weights_without_their_strings_are_refused(tmp_path, load):
    """The published checkpoints lack them, and a model with other strings is another model."""
    small_model("qisa").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    without = {name: tensor for name, tensor in tensors.items() if not name.endswith("codes")}
    assert len(without) == len(tensors) - 2
    save_file(without, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KetformerError, match=r"lack the Pauli strings .*\.layers\.0\..*codes"):
        load.from_pretrained(tmp_path)


def test_tied_embeddings_are_stored_once_and_stay_tied(tmp_path):
    saved = small_model(tie_word_embeddings=True, lm_head_bias=False)
    saved.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = KetformerForCausalLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded(some_ids(2, 5)).logits, saved(some_ids(2, 5)).logits)


def test_a_saved_model_carries_its_configuration(tmp_path):
    small_model("qisa", attention_options={"score": "dot"}).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, KetformerConfig)
    assert (config.attention, config.attention_options) == ("qisa", {"score": "dot"})
    assert config.architectures == ["KetformerForCausalLM"]


@pytest.mark.parametrize("attention", MECHANISMS)
def test_the_decoder_can_be_had_without_its_output_layer(tmp_path, attention):
    saved = small_model(attention)
    saved.save_pretrained(tmp_path)
    decoder = AutoModel.from_pretrained(tmp_path)
    assert type(decoder) is KetformerModel
    expected = saved.model(some_ids(2, 5)).last_hidden_state
    assert torch.equal(decoder(some_ids(2, 5)).last_hidden_state, expected)


def test_auto_classes_make_a_model_from_a_configuration():
    assert type(AutoModelForCausalLM.from_config(small_config("qsann"))) is KetformerForCausalLM


@pytest.mark.parametrize("attention", MECHANISMS)
def test_a_model_can_be_loaded_in_another_type(tmp_path, attention):
    saved = small_model(attention)
    saved.save_pretrained(tmp_path)
    half = KetformerForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype is torch.bfloat16
    logits = half(some_ids(2, 5)).logits
    assert logits.dtype is torch.bfloat16
    assert logits.isfinite().all()
    for name, strings in strings_of(saved).items():  # codes, not amplitudes: no rounding
        assert torch.equal(strings_of(half)[name], strings)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_a_copy_gives_the_same_logits_and_is_independent(attention):
    model = small_model(attention)
    expected = model(some_ids(2, 5)).logits
    copied = copy.deepcopy(model)
    assert torch.equal(copied(some_ids(2, 5)).logits, expected)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    assert not torch.equal(copied(some_ids(2, 5)).logits, expected)
    assert torch.equal(model(some_ids(2, 5)).logits, expected)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_the_same_seed_makes_the_same_model(attention):
    first, again, other = (small_model(attention, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert any(not torch.equal(other[name], tensor) for name, tensor in first.items())
