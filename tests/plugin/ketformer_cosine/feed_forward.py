"""A feed-forward layer whose activation is the square of a sine."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.models.feed_forward import FeedForward, FeedForwardOptions


class Wave(FeedForward):
    """Linear, sin² of a frequency times the result, linear.

    Args:
        intermediate_size: width of the layer between the two maps.
        frequency: of the sine.

    Other arguments as in FeedForward.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        intermediate_size: int,
        frequency: float = 1.0,
        **common: Unpack[FeedForwardOptions],
    ) -> None:
        super().__init__(hidden_size, **common)
        self.frequency = frequency
        self.up_proj = nn.Linear(hidden_size, intermediate_size)
        self.down_proj = nn.Linear(intermediate_size, hidden_size)

    def transform(self, hidden_states: Tensor) -> Tensor:
        """Linear, sin², linear."""
        out: Tensor = self.down_proj((self.frequency * self.up_proj(hidden_states)).sin().square())
        return out
