"""Training one model into a run directory."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.training.loop import train as train

__getattr__, __dir__, __all__ = lazily(__name__)
