"""Reproductions of the papers' tables and of runs, and the demo."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.reproduction.demo import run_demo as run_demo
    from ketformer.reproduction.overlap import reproduce_overlap as reproduce_overlap
    from ketformer.reproduction.qisa import reproduce_qisa as reproduce_qisa
    from ketformer.reproduction.rerun import repeat_run as repeat_run
    from ketformer.reproduction.tensorized import reproduce_tensorized as reproduce_tensorized

__getattr__, __dir__, __all__ = lazily(__name__)
