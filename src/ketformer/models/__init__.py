"""Hugging Face configuration and model, presets, and the import of GPT-1 weights."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.models.configuration import KetformerConfig as KetformerConfig
    from ketformer.models.gpt1 import from_openai_gpt as from_openai_gpt
    from ketformer.models.modeling import (
        KetformerForCausalLM as KetformerForCausalLM,
        KetformerModel as KetformerModel,
    )
    from ketformer.models.presets import PRESETS as PRESETS, preset as preset
    from ketformer.tasks.fast_tokenizer import KetformerTokenizer as KetformerTokenizer

__getattr__, __dir__, __all__ = lazily(__name__)
