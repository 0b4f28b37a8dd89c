"""Steering a model of molecules towards a goal, by the scores of an oracle."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.optimisation.efficiency import top_auc as top_auc
    from ketformer.optimisation.loop import optimise as optimise
    from ketformer.optimisation.options import Optimisation as Optimisation

__getattr__, __dir__, __all__ = lazily(__name__)
