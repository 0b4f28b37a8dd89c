"""Ketformer: quantum and quantum-inspired self-attention for generative transformers.

After `import ketformer`, transformers' Auto classes know the model, and converted ones. The import
itself is quick: torch and transformers are imported only when an export is first used.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from ketformer.conversion.names import auto_names
from ketformer.errors import KetformerError
from ketformer.models.auto import OWN, register_with_transformers
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention import ATTENTION as ATTENTION, build_attention as build_attention
    from ketformer.audit import audit_causality as audit_causality
    from ketformer.conversion import Distillation as Distillation, convert as convert
    from ketformer.models import (
        KetformerConfig as KetformerConfig,
        KetformerForCausalLM as KetformerForCausalLM,
    )
    from ketformer.models.feed_forward import FEED_FORWARD as FEED_FORWARD
    from ketformer.quantum import Circuit as Circuit

__version__ = version("ketformer")
__getattr__, __dir__, __all__ = lazily(__name__)
__all__ += ["KetformerError"]

register_with_transformers([OWN, *auto_names()])
