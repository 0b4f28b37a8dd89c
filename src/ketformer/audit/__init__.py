"""The causality proof: of our mechanisms, and of anything else that maps tokens to logits."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.audit.causality import audit_causality as audit_causality
    from ketformer.audit.loading import import_model as import_model, load_model as load_model
    from ketformer.audit.result import Audit as Audit, Check as Check, Source as Source

__getattr__, __dir__, __all__ = lazily(__name__)
