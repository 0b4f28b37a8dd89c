"""Hugging Face configuration and model, presets, and the import of GPT-1 weights.

Imported on first use, so that transformers can have the configuration without the model.
"""

from typing import TYPE_CHECKING

from ketformer.lazy import lazily

if TYPE_CHECKING:
    from ketformer.models.configuration import KetformerConfig
    from ketformer.models.gpt1 import from_openai_gpt
    from ketformer.models.modeling import KetformerForCausalLM, KetformerModel
    from ketformer.models.presets import PRESETS, preset

__all__ = [
    "PRESETS",
    "KetformerConfig",
    "KetformerForCausalLM",
    "KetformerModel",
    "from_openai_gpt",
    "preset",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "KetformerConfig": "ketformer.models.configuration",
        "KetformerForCausalLM": "ketformer.models.modeling",
        "KetformerModel": "ketformer.models.modeling",
        "PRESETS": "ketformer.models.presets",
        "from_openai_gpt": "ketformer.models.gpt1",
        "preset": "ketformer.models.presets",
    },
)
