"""Scaled dot-product attention, the baseline."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs


class ClassicalAttention(Attention):
    """Linear queries, keys and values; q·k / sqrt(d_head). Only the output has a bias.

    Options as in :class:`~ketformer.attention.Attention`; with another score or the
    transposed mixing it is the classical control for mechanisms that use them.
    """

    default_score = "dot"
    control = "classical attention of equal size"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        check_weights("hidden_size", hidden_size, 3 * hidden_size)
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=self.bias)
        self.reset_parameters()

    def score_weights(self) -> list[Tensor]:
        """The rows for queries and keys."""
        return [self.qkv_proj.weight[: 2 * self.hidden_size]]

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries, keys and values, as in GPT."""
        query, key, value = self.qkv_proj(hidden_states).chunk(3, dim=-1)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)
