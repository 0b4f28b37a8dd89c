"""Queries, keys and values that all pass through a few numbers; a subclass maps these on."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs


class NarrowHeads(Attention):
    """Each head maps a token to n numbers for its query, n for its key and n for its value.

    A subclass maps these on, number by number of a token or by a circuit. If a head is not n wide,
    a linear map that the heads share makes values as wide as the head.

    No weights set the spread of the scores: outcomes are bounded, so larger ones saturate.

    Args:
        width: the numbers n; at least 1.

    Other options as in :class:`~ketformer.attention.Attention`.
    """

    default_score = "dot"
    default_bias = True

    def __init__(
        self, hidden_size: int, num_heads: int, *, width: int, **common: Unpack[CommonOptions]
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.width = width
        check_weights("the narrow map", hidden_size, 3 * num_heads * width)
        self.narrow_proj = nn.Linear(hidden_size, 3 * num_heads * width, bias=self.bias)
        self.value_proj: nn.Linear | None = None
        if width != self.head_dim:
            self.value_proj = nn.Linear(width, self.head_dim, bias=self.bias)

    def outcomes(self, narrow: Tensor) -> Tensor:
        """What becomes of the numbers of N tokens, ``[3, H, N, n]`` as they are."""
        raise NotImplementedError  # abstract

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys ``[B, H, T, n]``; values as wide as the head."""
        narrow = self.narrow(hidden_states)
        found = self.outcomes(narrow.flatten(2, 3)).to(hidden_states.dtype)
        query, key, value = found.unflatten(2, narrow.shape[2:4]).transpose(1, 2)
        return query, key, self.widened(value)

    def narrow(self, hidden_states: Tensor) -> Tensor:
        """The n numbers for queries, keys and values, ``[3, H, B, T, n]``."""
        narrow = self.narrow_proj(hidden_states).unflatten(-1, (3, self.num_heads, self.width))
        by_head: Tensor = narrow.permute(2, 3, 0, 1, 4)
        return by_head

    def widened(self, values: Tensor) -> Tensor:
        """Values ``[B, H, T, n]`` as wide as the head."""
        if self.value_proj is None:
            return values
        wide: Tensor = self.value_proj(values)
        return wide
