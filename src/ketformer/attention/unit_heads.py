"""Scores and values from parts of a token of length 1; a subclass says which matrices turn them."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

from torch import Tensor

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import require_choice
from ketformer.attention.classical_qk_norm import unit
from ketformer.attention.inputs import TokenInputs

Values = Literal["signed", "absolute"]


class UnitHeads(Attention):
    """Score of x̂ and W x̂, values V x̂, where x̂ = x/|x| and each head has its part x of the token.

    Args:
        values: ``signed``, or ``absolute``: |V x̂|, entry by entry.

    Other options as in :class:`~ketformer.attention.Attention`.
    """

    default_score = "square"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        values: Values = "signed",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("values", values, get_args(Values))
        self.values = values

    def turned(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """W x̂ and V x̂ of N tokens ``[H, N, head_dim]``."""
        raise NotImplementedError  # abstract

    def dot_scale(self, width: int) -> float:
        """d_head for ``square``, otherwise sqrt(d_head): random directions then spread by about 1.

        Without it the softmax would be flat: of random directions, squares spread by
        sqrt(2)/d_head.
        """
        return float(self.head_dim if self.score == "square" else self.head_dim**0.5)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors as queries; turned ones as keys and values."""
        query = self.units(hidden_states)
        turned = self.turned(query.transpose(0, 1).flatten(1, 2))
        key, value = (
            part.to(query.dtype).unflatten(1, (len(query), -1)).transpose(0, 1) for part in turned
        )
        return query, key, self.finished(value)

    def units(self, hidden_states: Tensor) -> Tensor:
        """Each head's part of the tokens, of length 1: ``[B, H, T, head_dim]``."""
        return unit(self.split_heads(hidden_states))

    def finished(self, values: Tensor) -> Tensor:
        """Values with or without their signs."""
        return values.abs() if self.values == "absolute" else values
