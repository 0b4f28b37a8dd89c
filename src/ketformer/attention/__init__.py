"""Attention mechanisms: one file each, and the registry. Needs torch and `quantum` only."""

from ketformer.attention.base import Attention
from ketformer.attention.inputs import ConditionEmbedding, InputSizes, TokenInputs
from ketformer.attention.masking import attention_mask
from ketformer.attention.registry import (
    ATTENTION,
    attention_class,
    attention_options,
    build_attention,
)

__all__ = [
    "ATTENTION",
    "Attention",
    "ConditionEmbedding",
    "InputSizes",
    "TokenInputs",
    "attention_class",
    "attention_mask",
    "attention_options",
    "build_attention",
]
