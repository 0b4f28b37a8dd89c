"""Sound small random models pass: of transformers, and our own mechanisms (test_causality.py)."""

import pytest
import torch
import transformers

from audit.helpers import VOCAB, gpt2, llama
from ketformer import audit_causality

_SMALL = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2}
_LLAMA = {
    **_SMALL,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
_BART = {
    **{f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "ffn_dim")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
}


def made(name, **config):
    torch.manual_seed(0)
    known = transformers.AutoConfig.for_model(name, **config)
    auto = "AutoModelForSeq2SeqLM" if known.is_encoder_decoder else "AutoModelForCausalLM"
    return getattr(transformers, auto).from_config(known)


MODELS = {
    "gpt2": gpt2,
    "llama": llama,
    "gpt_neox": lambda: made("gpt_neox", **{**_LLAMA, "num_key_value_heads": 4}),
    "openai-gpt": lambda: made("openai-gpt", n_embd=16, n_layer=2, n_head=2, vocab_size=VOCAB),
    "mistral": lambda: made("mistral", sliding_window=5, **_LLAMA),
    "mixtral": lambda: made("mixtral", num_local_experts=4, **_LLAMA),
    "mamba": lambda: made("mamba", state_size=4, **_SMALL),
    "rwkv": lambda: made("rwkv", attention_hidden_size=16, context_length=32, **_SMALL),
    "t5": lambda: made("t5", vocab_size=VOCAB, **_T5),
    "bart": lambda: made("bart", vocab_size=VOCAB, d_model=16, **_BART),
}
#: What each model supports of cache, left padding and packing: yes, no, or it takes no such thing.
PATHS = {
    "gpt2": (True, True, True),
    "llama": (True, True, True),
    "gpt_neox": (True, True, True),
    "openai-gpt": (None, True, False),
    "mistral": (True, True, True),
    "mixtral": (True, True, True),
    "mamba": (True, True, None),
    "rwkv": (None, False, None),  # its cache fails on batches, and it ignores the mask
    "t5": (True, True, None),
    "bart": (True, False, None),  # learned positions that cannot be given
}


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_model_passes(name):
    audit = audit_causality(MODELS[name](), sequences=3, length=12)
    assert audit.attention == name
    assert audit.causal
    assert not audit.leaks
    assert audit.max_future_influence == 0.0
    assert audit.max_past_influence > 0.1
    assert audit.precisions == ("float32", "float64")
    assert (audit.worst, audit.positions, audit.ahead, audit.sources) == (None, (), None, ())
    assert audit.check("batch").passed
    paths = ("cache", "left_padding", "packing")
    assert tuple(audit.check(path).passed for path in paths) == PATHS[name]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_in_other_precisions(dtype):
    audit = audit_causality(llama().to(dtype), sequences=2, length=8)
    assert audit.max_future_influence == 0.0
    assert audit.precisions == (str(dtype).removeprefix("torch."), "float64")


def test_the_cache_of_one_sequence_of_rwkv():
    assert audit_causality(MODELS["rwkv"](), sequences=1, length=8).check("cache").passed


def test_an_encoder_does_not_pass():
    bert = made("bert", num_attention_heads=2, intermediate_size=24, **_SMALL)
    assert not audit_causality(bert, sequences=2, length=8).causal
