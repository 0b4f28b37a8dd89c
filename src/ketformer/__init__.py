"""Ketformer: quantum and quantum-inspired self-attention for generative transformers.

Importing it registers the model with transformers' Auto classes.
"""

from importlib.metadata import version

from ketformer.attention import ATTENTION, build_attention
from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.quantum import Circuit

__version__ = version("ketformer")

__all__ = [
    "ATTENTION",
    "Circuit",
    "KetformerConfig",
    "KetformerError",
    "KetformerForCausalLM",
    "audit_causality",
    "build_attention",
]
