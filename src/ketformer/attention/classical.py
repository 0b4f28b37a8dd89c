"""Scaled dot-product attention, the baseline."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.errors import KetformerError


class ClassicalAttention(Attention):
    """Linear queries, keys and values; q·k / sqrt(d_head). Only the output has a bias.

    With another score or the transposed mixing it is the classical control for mechanisms that
    use them.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads.
        local_start: where trained vectors added to all queries and to all keys begin, in every
            entry; 0 leaves them out. With rotary positions, products of the two are large for near
            tokens: attention begins local, as that of states that evolve with their positions.
        common: see :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    control = "classical attention of equal size"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        local_start: float = 0.0,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        check_weights("hidden_size", hidden_size, 3 * hidden_size)
        if not math.isfinite(local_start):
            raise KetformerError(f"local_start must be finite, got {local_start}")
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=self.bias)
        self.local_start = local_start
        self.shared = (
            nn.Parameter(torch.empty(2, num_heads, 1, self.head_dim)) if local_start else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin the vectors that all queries and all keys share."""
        super().reset_parameters()
        if self.shared is not None:
            nn.init.constant_(self.shared, self.local_start)

    def score_weights(self) -> list[Tensor]:
        """The rows for queries and keys."""
        return [self.qkv_proj.weight[: 2 * self.hidden_size]]

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries, keys and values, as in GPT."""
        query, key, value = self.qkv_proj(hidden_states).chunk(3, dim=-1)
        query, key = self.split_heads(query), self.split_heads(key)
        if self.shared is not None:
            query, key = query + self.shared[0], key + self.shared[1]
        return query, key, self.split_heads(value)
