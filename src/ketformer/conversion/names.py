"""The architectures that can be converted, by name; importing this imports neither torch nor them.

A converted model has a model type of its own, such as ``ketformer-gpt2``: without Ketformer it is
an unknown type, so it never loads as the architecture it came from.
"""

from __future__ import annotations

from ketformer.models.auto import AutoNames

_PREFIX = "ketformer-"

#: Model type in transformers to what the names of its classes begin with, and of its causal model.
ARCHITECTURES = {
    "openai-gpt": ("OpenAIGPT", "OpenAIGPTLMHeadModel"),
    "gpt2": ("GPT2", "GPT2LMHeadModel"),
    "gpt_neox": ("GPTNeoX", "GPTNeoXForCausalLM"),
    "llama": ("Llama", "LlamaForCausalLM"),
    "mistral": ("Mistral", "MistralForCausalLM"),
    "qwen2": ("Qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3", "Qwen3ForCausalLM"),
}


def original_type(model_type: str) -> str:
    """The model type of transformers, for that of a converted or an unconverted model."""
    return model_type.removeprefix(_PREFIX)


def class_names(model_type: str) -> tuple[str, str]:
    """Our configuration and causal model, for the type of a converted or an unconverted model."""
    prefix, causal = ARCHITECTURES[original_type(model_type)]
    return f"Ketformer{prefix}Config", f"Ketformer{causal}"


def auto_names() -> list[AutoNames]:
    """What transformers' Auto classes are told of the converted models."""
    return [_auto_names(model_type) for model_type in ARCHITECTURES]


def _auto_names(model_type: str) -> AutoNames:
    config, causal = class_names(model_type)
    models = {"MODEL_FOR_CAUSAL_LM_MAPPING": causal}
    return AutoNames(f"{_PREFIX}{model_type}", "ketformer.conversion", config, models)
