"""The configuration: strict, with one clear line for each mistake, and it survives saving."""

import json
import re

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AutoConfig

from ketformer.attention import ATTENTION, attention_options
from ketformer.errors import KetformerError
from ketformer.models import PRESETS, KetformerConfig, KetformerForCausalLM, checks, preset

from .helpers import SMALL, small_config


def complaint_about(**changes):
    """The message for a wrong configuration, which must be one line."""
    with pytest.raises(KetformerError) as caught:
        small_config(**changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- Mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("hiden_size", "hidden_size"),
        ("num_layers", "num_hidden_layers"),
        ("atention", "attention"),
        ("resid_dropout", "resid_pdrop"),
    ],
)
def test_an_unknown_key_is_an_error_that_says_what_was_meant(key, meant):
    assert (
        complaint_about(**{key: 1}) == f"unknown configuration key {key!r}; did you mean {meant!r}?"
    )


def test_an_unknown_key_like_no_other_is_named_alone():
    assert complaint_about(qqqq=1) == "unknown configuration key 'qqqq'"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "16"),
        ("hidden_size", 16.0),
        ("hidden_size", None),
        ("hidden_size", True),
        ("num_hidden_layers", [2]),
        ("intermediate_size", "64"),
        ("attention", 3),
        ("attention_options", ["dot"]),
        ("attention_bias", "yes"),
        ("norm_position", "middle"),
        ("hidden_act", "swish"),
        ("resid_pdrop", "0.1"),
        ("initializer_range", "small"),
        ("tie_word_embeddings", "no"),
        ("use_cache", "no"),
        ("pad_token_id", 1.5),
    ],
)
def test_a_wrong_type_or_choice_names_the_key(key, value):
    assert key in complaint_about(**{key: value})


def test_a_wrong_type_is_refused_later_too():
    config = small_config()
    with pytest.raises(KetformerError, match="'hidden_size' expected int, got str"):
        config.hidden_size = "wide"
    assert config.hidden_size == SMALL["hidden_size"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 0}, "vocab_size must be positive, got 0"),
        ({"hidden_size": -16}, "hidden_size must be positive, got -16"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be positive, got 0"),
        ({"num_attention_heads": 0}, "num_attention_heads must be positive, got 0"),
        ({"intermediate_size": 0}, "intermediate_size must be positive, got 0"),
        ({"max_position_embeddings": 0}, "max_position_embeddings must be positive, got 0"),
        ({"num_attention_heads": 3}, "3 heads do not divide hidden_size 16"),
        ({"embd_pdrop": 1}, r"embd_pdrop must lie in [0, 1), got 1"),
        ({"attn_pdrop": -0.1}, r"attn_pdrop must lie in [0, 1), got -0.1"),
        ({"resid_pdrop": float("nan")}, r"resid_pdrop must lie in [0, 1), got nan"),
        ({"initializer_range": -0.1}, "initializer_range must not be negative, got -0.1"),
        ({"layer_norm_epsilon": -1.0}, "layer_norm_epsilon must not be negative, got -1.0"),
    ],
    ids=str,
)
def test_an_impossible_size_is_an_error_that_says_why(changes, said):
    assert said in complaint_about(**changes)


def test_an_unknown_attention_is_an_error_that_lists_the_known():
    message = complaint_about(attention="qsia")
    assert "unknown attention 'qsia'" in message
    assert all(name in message for name in ATTENTION)


def test_an_unknown_option_of_the_attention_is_an_error_that_lists_its_options():
    message = complaint_about(attention="qisa", attention_options={"dim": 4})
    assert "qisa has no option dim" in message
    assert "hilbert_dim" in message


def test_a_mechanism_without_options_says_so():
    options = {"attention": "qisa_published", "attention_options": {"score": "dot"}}
    assert "qisa_published has no option score; its options: none" in complaint_about(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"score": "cosine"}, "score must be one of"),
        ({"mixing": "both"}, "mixing must be one of"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
    ids=str,
)
def test_a_wrong_option_value_is_an_error_when_the_model_is_made(options, said):
    with pytest.raises(KetformerError, match=said):
        KetformerForCausalLM(small_config(attention_options=options))


# --- What it stands for ------------------------------------------------------------------------


def test_the_feed_forward_width_is_four_times_the_model_unless_it_is_given():
    assert small_config().intermediate_size == 4 * SMALL["hidden_size"]
    assert small_config(intermediate_size=24).intermediate_size == 24


def test_two_configurations_do_not_share_their_options():
    options = {"score": "dot"}
    first, second = small_config(attention_options=options), small_config()
    options["score"] = "gaussian"
    assert first.attention_options == {"score": "dot"}
    assert second.attention_options == {}


@pytest.mark.parametrize(
    ("attention", "parameters"), [("classical", 21_825), ("qisa", 22_017), ("qisa_a", 20_553)]
)
@pytest.mark.parametrize("variant", ["", "_published"])
def test_parameter_counts_of_the_published_setting(attention, variant, parameters):
    name = attention + variant
    if name not in ATTENTION:  # classical attention has no published variant
        name = "classical"
    config = KetformerConfig(
        **{**preset("qisa-small")["model"], "vocab_size": 65, "attention": name}
    )
    assert KetformerForCausalLM(config).num_parameters() == parameters


def test_the_character_preset_has_about_a_million_parameters():
    config = KetformerConfig(**preset("char-gpt")["model"], vocab_size=65)
    assert 0.9e6 < KetformerForCausalLM(config).num_parameters() < 1.1e6


def test_the_gpt1_preset_has_the_size_of_gpt1():
    config = KetformerConfig(**preset("gpt1")["model"], vocab_size=preset("gpt1")["vocab_size"])
    layer = 12 * 768**2 + 13 * 768
    assert config.intermediate_size == 3072
    assert (40_478 + 512) * 768 + 12 * layer == 116_534_784  # GPT-1's own count
    one_layer = KetformerConfig(
        **{**config.to_diff_dict(), "num_hidden_layers": 1, "vocab_size": 1}
    )
    assert KetformerForCausalLM(one_layer).num_parameters() == (1 + 512) * 768 + layer


def test_a_preset_is_a_copy():
    preset("gpt1")["model"]["hidden_size"] = 1
    assert preset("gpt1")["model"]["hidden_size"] == 768


def test_an_unknown_preset_is_an_error_that_lists_the_known():
    with pytest.raises(KetformerError, match=re.escape(", ".join(PRESETS))):
        preset("gpt5")


@pytest.mark.parametrize(
    ("attention", "options", "told"),
    [
        ("overlap", {"n_qubits": "6"}, "option n_qubits must be int or null, got '6'"),
        ("overlap", {"n_qubits": 6.0}, "option n_qubits must be int or null, got 6.0"),
        ("overlap", {"layers": True}, "option layers must be int, got True"),
        ("overlap", {"angles": 3}, "option angles must be one of hidden, embedding, got 3"),
        ("overlap", {"angles": ["hidden"]}, "option angles must be one of"),
        ("overlap", {"spsa_epsilon": float("nan")}, "option spsa_epsilon must be finite"),
        ("qisa", {"hilbert_dim": [8]}, "option hilbert_dim must be int or null"),
        ("qsann", {"temperature": None}, "option temperature must be float, got None"),
        ("classical", {"learnable_temperature": 1}, "option learnable_temperature must be bool"),
        ("classical", {"score": "loud"}, "option score must be one of"),
    ],
    ids=str,
)
def test_an_option_of_another_type_is_an_error(attention, options, told):
    assert told in complaint_about(attention=attention, attention_options=options)


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_defaults_of_every_mechanism_have_their_own_types(attention):
    options = attention_options(attention)
    assert small_config(attention, attention_options=options).attention_options == options


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 2**20, "num_attention_heads": 1},
        {"vocab_size": 10**12},
        {"max_position_embeddings": 10**12},
        {"num_hidden_layers": 10**8},
        {"intermediate_size": 10**12},
        {"attention": "overlap", "attention_options": {"layers": 10**9}},
        {"attention": "tensorized", "max_position_embeddings": 10**5},
    ],
    ids=str,
)
def test_a_model_larger_than_the_machine_is_refused_with_what_it_needs(monkeypatch, changes):
    monkeypatch.setattr(checks, "machine_memory", lambda: 64 * 2**30)
    attention = changes.pop("attention", "classical")
    message = r"would need at least [\d,.]+ GiB of memory; this machine has 64.0 GiB"
    with pytest.raises(KetformerError, match=message):
        checks.check_memory(small_config(attention, **changes))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("attention", ATTENTION)
def test_what_a_model_needs_at_least_is_no_more_than_it_has(monkeypatch, name, attention):
    monkeypatch.setattr(checks, "machine_memory", lambda: 64 * 2**30)
    content = preset(name)["model"]
    content = {k: v for k, v in content.items() if k != "attention_options"}
    content["positions"] = "learned"  # which every mechanism can have
    config = KetformerConfig(**{**content, "vocab_size": 300, "attention": attention})
    with torch.device("meta"):
        parameters = KetformerForCausalLM(config).num_parameters()
    assert checks.least_parameters(config) <= parameters
    assert 0.35 * parameters < checks.least_parameters(config)
    checks.check_memory(config)


# --- Saving ------------------------------------------------------------------------------------

configurations = st.builds(
    lambda heads, width, attention, **rest: KetformerConfig(
        num_attention_heads=heads, hidden_size=heads * width, attention=attention, **rest
    ),
    heads=st.integers(1, 8),
    width=st.integers(1, 16),
    attention=st.sampled_from(list(ATTENTION)),
    vocab_size=st.integers(1, 10_000),
    num_hidden_layers=st.integers(1, 12),
    intermediate_size=st.none() | st.integers(1, 512),
    max_position_embeddings=st.integers(1, 512),
    attention_bias=st.none() | st.booleans(),
    norm_position=st.sampled_from(["pre", "post"]),
    hidden_act=st.sampled_from(["relu", "gelu", "gelu_new"]),
    embd_pdrop=st.floats(0, 0.9),
    attn_pdrop=st.just(0),
    initializer_range=st.none() | st.floats(1e-3, 1),
    lm_head_bias=st.booleans(),
    tie_word_embeddings=st.booleans(),
    use_cache=st.booleans(),
    pad_token_id=st.none() | st.just(0),
)


@settings(max_examples=40, deadline=None)
@given(configurations)
def test_any_valid_configuration_survives_a_dictionary_and_json(config):
    assert KetformerConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    reread = KetformerConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    assert reread.to_dict() == config.to_dict()


@pytest.mark.parametrize("load", [KetformerConfig, AutoConfig], ids=["own", "auto"])
def test_a_saved_configuration_is_the_same_when_reloaded(tmp_path, load):
    config = small_config("qisa", attention_options={"score": "dot", "hilbert_dim": 5})
    config.save_pretrained(tmp_path)
    reloaded = load.from_pretrained(tmp_path)
    assert type(reloaded) is KetformerConfig
    changed = {k for k, v in config.to_dict().items() if reloaded.to_dict()[k] != v}
    assert changed <= {"_name_or_path"}


def test_a_saved_configuration_with_a_foreign_key_is_refused(tmp_path):
    small_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hiden_size": 3}))
    with pytest.raises(KetformerError, match="did you mean 'hidden_size'"):
        KetformerConfig.from_pretrained(tmp_path)
