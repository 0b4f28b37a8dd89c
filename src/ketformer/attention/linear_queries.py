"""Linear queries and keys, for mechanisms that replace only the value map."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.observables import by_token


class LinearQueries(Attention):
    """Queries and keys as in GPT; a subclass supplies the values."""

    default_bias = True

    def __init__(self, hidden_size: int, num_heads: int, **common: Unpack[CommonOptions]) -> None:
        super().__init__(hidden_size, num_heads, **common)
        check_weights("hidden_size", hidden_size, 2 * hidden_size)
        self.qk_proj = nn.Linear(hidden_size, 2 * hidden_size, bias=self.bias)

    def score_weights(self) -> list[Tensor]:
        """The map to queries and keys."""
        return [self.qk_proj.weight]

    def beside(self, hidden_states: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, together with the values ``[BT, H, head_dim]``."""
        query, key = self.qk_proj(hidden_states).chunk(2, dim=-1)
        values = by_token(values, hidden_states)
        return self.split_heads(query), self.split_heads(key), values
