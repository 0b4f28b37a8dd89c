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


def auto_names() -> list[AutoNames]:
    """What transformers' Auto classes are told of the converted models."""
    return [
        AutoNames(
            f"{_PREFIX}{model_type}",
            "ketformer.conversion",
            f"Ketformer{prefix}Config",
            {"MODEL_FOR_CAUSAL_LM_MAPPING": f"Ketformer{causal}"},
        )
        for model_type, (prefix, causal) in ARCHITECTURES.items()
    ]
