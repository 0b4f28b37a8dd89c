"""Loads this model in tools that know only transformers, with ``trust_remote_code=True``.

Ketformer saves this file with every converted model. All of its code is in the package
``ketformer``.
"""

try:
    from ketformer.conversion import (
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
except ModuleNotFoundError as error:
    if error.name != "ketformer":
        raise  # something that Ketformer needs is missing
    raise ImportError(
        "this model needs Ketformer, which is not installed here: pip install ketformer"
    ) from None
