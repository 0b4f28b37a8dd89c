"""The feed-forward layer of the Transformer."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.checks import check_weights
from ketformer.errors import KetformerError
from ketformer.models.feed_forward.base import FeedForward, FeedForwardOptions


class Mlp(FeedForward):
    """Linear, activation, linear.

    Args:
        intermediate_size: width of the layer between the two maps.

    Other arguments as in :class:`~ketformer.models.feed_forward.FeedForward`.

    Raises:
        KetformerError: an invalid size.
    """

    def __init__(
        self, hidden_size: int, *, intermediate_size: int, **common: Unpack[FeedForwardOptions]
    ) -> None:
        super().__init__(hidden_size, **common)
        if intermediate_size < 1:
            raise KetformerError(f"intermediate_size must be positive, got {intermediate_size}")
        check_weights("intermediate_size", intermediate_size, hidden_size)
        self.up_proj = nn.Linear(hidden_size, intermediate_size)
        self.down_proj = nn.Linear(intermediate_size, hidden_size)

    def transform(self, hidden_states: Tensor) -> Tensor:
        """Linear, activation, linear."""
        out: Tensor = self.down_proj(self.act(self.up_proj(hidden_states)))
        return out
