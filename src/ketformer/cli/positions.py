"""Positions of a preset with mechanisms that do not accept them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ketformer.attention import attention_class

if TYPE_CHECKING:
    from ketformer.runs import Settings


def with_positions_for(attentions: Iterable[str], settings: Settings) -> Settings:
    """The settings, with learned positions if one of the mechanisms does not accept these.

    For positions that come from a preset, which may be chosen with any mechanism; a warning says
    what was changed.
    """
    positions = settings.model.get("positions", "learned")
    names = [name for name in attentions if not _accepts(name, positions)]
    if positions == "learned" or not names:
        return settings
    warnings.warn(
        f"{', '.join(names)}: accepts no {positions} positions, so learned ones take the place of "
        "the preset's",
        stacklevel=2,
    )
    return settings.override({"positions": "learned"})


def _accepts(name: str, positions: str) -> bool:
    mechanism = attention_class(name)
    return not mechanism.learned_positions and (positions != "rotary" or mechanism.rotary_positions)
