"""Hugging Face configuration and model, presets, and the import of GPT-1 weights.

Importing this registers `ketformer` with transformers' Auto classes.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from ketformer.models.configuration import KetformerConfig
from ketformer.models.gpt1 import from_openai_gpt
from ketformer.models.modeling import KetformerForCausalLM, KetformerModel
from ketformer.models.presets import PRESETS, preset

AutoConfig.register(KetformerConfig.model_type, KetformerConfig, exist_ok=True)
AutoModel.register(KetformerConfig, KetformerModel, exist_ok=True)
AutoModelForCausalLM.register(KetformerConfig, KetformerForCausalLM, exist_ok=True)

__all__ = [
    "PRESETS",
    "KetformerConfig",
    "KetformerForCausalLM",
    "KetformerModel",
    "from_openai_gpt",
    "preset",
]
