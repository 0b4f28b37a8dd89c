"""The option ``token_shift``: half of the channels that a mechanism sees are the previous token's.

Bo Peng's token shift (arXiv 2305.13048, section 3.1.1), without its trained weights. What a head
that looks at the previous token has to learn first is then there from the start.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class KeyValueCache(Protocol):
    """The keys and values of earlier positions in one layer."""

    def __call__(self, keys: Tensor, values: Tensor, /) -> tuple[Tensor, Tensor]:
        """Add keys and values ``[B, H, T, D]``; returns all so far."""

    def previous(self) -> tuple[int, Tensor | None]:
        """How many positions there are, and the values ``[B, H, 1, D]`` of the last; None of 0.

        Called only with ``token_shift``.
        """


def halves_of(hidden_states: Tensor, num_heads: int, is_token: Tensor | None) -> Tensor:
    """The channels that the next token takes over, ``[B, H, T, floor(d / 2H)]``; 0 for padding.

    They are the first half of each block of d / H channels, so that a cache can keep them beside
    the values of a head.

    Args:
        hidden_states: ``[B, T, d]``.
        num_heads: number of heads H.
        is_token: bool, broadcastable to ``[B, 1, T]``; None if there is no padding.
    """
    blocks = hidden_states.unflatten(-1, (num_heads, -1)).transpose(1, 2)
    halves: Tensor = blocks[..., : blocks.shape[-1] // 2]
    # Not a product with the mask: padding may hold anything, NaN included.
    return halves if is_token is None else halves.masked_fill(~is_token[..., None], 0)


def shifted(hidden_states: Tensor, halves: Tensor, earlier: Tensor | None) -> Tensor:
    """The hidden states with the halves of the position before each; 0 before the first.

    Args:
        hidden_states: ``[B, T, d]``.
        halves: of these positions, see :func:`halves_of`.
        earlier: of the position before them, ``[B, H, 1, w]``; None if there is none.
    """
    first = torch.zeros_like(halves[..., :1, :]) if earlier is None else earlier
    before = torch.cat([first.to(halves.dtype), halves[..., :-1, :]], dim=-2)
    blocks = hidden_states.unflatten(-1, (halves.shape[1], -1))
    own = blocks[..., halves.shape[-1] :]
    return torch.cat([before.transpose(1, 2), own], dim=-1).flatten(-2)
