"""Small random models of every architecture, and what the tests ask of a model."""

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import ketformer
from ketformer.attention.base import Attention
from ketformer.attention.registry import attention_class, causal_mechanisms

VOCABULARY = 50
CONTEXT = 32

_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
_LATER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": CONTEXT,
}
_GROUPED = {**_LATER, "num_key_value_heads": 2}
_WINDOW = 5


def _rotary(share, kind="default"):
    parameters = {"rope_type": kind, "rope_theta": 500.0, "partial_rotary_factor": share}
    return {"rope_parameters": {**parameters, **({"factor": 2.0} if kind == "linear" else {})}}


MODELS = {
    "openai-gpt": (OpenAIGPTLMHeadModel, OpenAIGPTConfig, _GPT),
    "gpt2": (GPT2LMHeadModel, GPT2Config, _GPT),
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {**_LATER, **_rotary(1.0)}),
    "llama": (LlamaForCausalLM, LlamaConfig, {**_GROUPED, "attention_bias": True}),
    "mistral": (MistralForCausalLM, MistralConfig, {**_GROUPED, "sliding_window": _WINDOW}),
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config,
        {
            **_GROUPED,
            "use_sliding_window": True,
            "sliding_window": _WINDOW,
            "max_window_layers": 1,
        },
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {**_GROUPED, "head_dim": 16}),
    # What `classical` cannot express.
    "gpt_neox, partly rotary": (GPTNeoXForCausalLM, GPTNeoXConfig, {**_LATER, **_rotary(0.5)}),
    "llama, scaled": (LlamaForCausalLM, LlamaConfig, {**_GROUPED, **_rotary(1.0, "linear")}),
    "llama, wide heads": (LlamaForCausalLM, LlamaConfig, {**_GROUPED, "head_dim": 12}),
    "gpt2, scaled": (
        GPT2LMHeadModel,
        GPT2Config,
        {**_GPT, "scale_attn_by_inverse_layer_idx": True},
    ),
}
ARCHITECTURES = [name for name in MODELS if "," not in name]
CASES = [(name, attention) for name in ARCHITECTURES for attention in ("overlap", "qisa")]
# Every other that keeps keys and values once, with grouped heads and rotary positions.
CASES += [
    ("llama", name)
    for name in causal_mechanisms()
    if name not in ("overlap", "qisa", "classical_linear")
    and issubclass(attention_class(name), Attention)
]
CASES += [("gpt2", "classical_linear")]  # it cannot turn its features by their positions
KEPT = ["qwen3", *(name for name in MODELS if "," in name)]


def small_model(name="gpt2", *, seed=0, **changes):
    """A small model whose weights are so large that any difference shows, in evaluation mode."""
    torch.manual_seed(seed)
    model, config, sizes = MODELS[name]
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    built = model(config(**{"vocab_size": VOCABULARY, **special, **sizes, **changes})).eval()
    with torch.no_grad():
        for key, parameter in built.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.3)
            else:
                nn.init.normal_(parameter, mean=float("norm" in key or "ln" in key), std=0.2)
    return built


def converted(name="gpt2", attention="overlap", **changes):
    """A small model with other attention in every layer, drawn alike each time."""
    torch.manual_seed(1)
    return ketformer.convert(small_model(name), attention, **{"init": "random", **changes})


def without_dropout(model):
    """The model, training like the one that is evaluated."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for own in model.converted().values():
        own.mechanism.dropout = 0.0
    return model


def some_ids(batch=3, length=12, *, seed=0):
    """Token ids ``[batch, length]`` without special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)


def assert_close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def padded(ids, count):
    """The ids behind ``count`` tokens of padding: ids, mask and positions."""
    behind = torch.cat([torch.zeros(len(ids), count, dtype=torch.long), ids], dim=1)
    mask = torch.ones_like(behind)
    mask[:, :count] = 0
    return {
        "input_ids": behind,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp_min(0),
    }
