"""Positions of a preset with mechanisms that accept learned ones only."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from ketformer.attention import attention_class
from ketformer.runs import Settings


def with_positions_for(attentions: Iterable[str], settings: Settings) -> Settings:
    """The settings, with learned positions if one of the mechanisms accepts no others.

    For positions that come from a preset, which may be chosen with any mechanism; a warning says
    what was changed.
    """
    positions = settings.model.get("positions", "learned")
    names = [name for name in attentions if attention_class(name).learned_positions]
    if positions == "learned" or not names:
        return settings
    warnings.warn(
        f"{', '.join(names)}: accepts learned positions only, so these take the place of the "
        f"preset's {positions}",
        stacklevel=2,
    )
    return settings.override({"positions": "learned"})
