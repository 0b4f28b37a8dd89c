"""Hugging Face models with other attention: the conversion, warm starts, and the classes."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.conversion.conversion import convert as convert
    from ketformer.conversion.distill import Distillation as Distillation
    from ketformer.conversion.models import (
        KetformerGPT2Config as KetformerGPT2Config,
        KetformerGPT2LMHeadModel as KetformerGPT2LMHeadModel,
        KetformerGPTNeoXConfig as KetformerGPTNeoXConfig,
        KetformerGPTNeoXForCausalLM as KetformerGPTNeoXForCausalLM,
        KetformerLlamaConfig as KetformerLlamaConfig,
        KetformerLlamaForCausalLM as KetformerLlamaForCausalLM,
        KetformerMistralConfig as KetformerMistralConfig,
        KetformerMistralForCausalLM as KetformerMistralForCausalLM,
        KetformerOpenAIGPTConfig as KetformerOpenAIGPTConfig,
        KetformerOpenAIGPTLMHeadModel as KetformerOpenAIGPTLMHeadModel,
        KetformerQwen2Config as KetformerQwen2Config,
        KetformerQwen2ForCausalLM as KetformerQwen2ForCausalLM,
        KetformerQwen3Config as KetformerQwen3Config,
        KetformerQwen3ForCausalLM as KetformerQwen3ForCausalLM,
    )

__getattr__, __dir__, __all__ = lazily(__name__)
