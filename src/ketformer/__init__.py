"""Ketformer: quantum and quantum-inspired self-attention for generative transformers.

After `import ketformer` transformers' Auto classes know the model. The import itself takes a
moment: torch and transformers are imported with the first export that is used.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from ketformer.auto import register_with_transformers
from ketformer.errors import KetformerError
from ketformer.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention import ATTENTION, build_attention
    from ketformer.audit import audit_causality
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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ATTENTION": "ketformer.attention",
        "Circuit": "ketformer.quantum",
        "KetformerConfig": "ketformer.models",
        "KetformerForCausalLM": "ketformer.models",
        "audit_causality": "ketformer.audit",
        "build_attention": "ketformer.attention",
    },
)

register_with_transformers()
