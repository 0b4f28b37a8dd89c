"""Mechanisms on equal terms: the same data, batches and seeds, matched sizes, intervals."""

from typing import TYPE_CHECKING

from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.comparison.experiment import compare as compare, run_variants as run_variants
    from ketformer.comparison.leaderboards import leaderboard as leaderboard
    from ketformer.comparison.merging import merge as merge
    from ketformer.comparison.statistics import paired as paired, summarise as summarise
    from ketformer.comparison.variants import (
        Variant as Variant,
        controls as controls,
        matched as matched,
        rows_of as rows_of,
    )
    from ketformer.comparison.verdicts import verdict as verdict

__getattr__, __dir__, __all__ = lazily(__name__)
