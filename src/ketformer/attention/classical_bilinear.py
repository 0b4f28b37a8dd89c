"""The classical twin of `orthogonal`: any matrices in place of products of rotations."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.unit_heads import UnitHeads, Values


class ClassicalBilinear(UnitHeads):
    """Score (x̂ᵀ W x̂')², values V x̂, with trained W and V of each head that need not be orthogonal.

    Everything else is as in :class:`Orthogonal <ketformer.attention.orthogonal.Orthogonal>`. A gain
    that both show is not due to the rotations, nor to a circuit for them.

    Args:
        values: ``signed``, or ``absolute``: |V x̂|, entry by entry.

    Other options as in :class:`~ketformer.attention.Attention`; ``bias`` changes nothing.

    Raises:
        KetformerError: an invalid size or option.
    """

    control = "unconstrained matrices in place of the rotations of orthogonal"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        values: Values = "signed",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, values=values, **common)
        check_weights("the head's width", 2 * num_heads * self.head_dim, self.head_dim)
        shape = (num_heads, self.head_dim, self.head_dim)
        self.score_weight = nn.Parameter(torch.empty(shape))
        self.value_weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw both so that vectors keep their length on average, as rotations keep it."""
        super().reset_parameters()
        for weight in (self.score_weight, self.value_weight):
            nn.init.normal_(weight, std=self.head_dim**-0.5)

    def score_weights(self) -> list[Tensor]:
        """W of each head."""
        return [self.score_weight]

    def turned(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """The products with W and V."""
        return units @ self.score_weight.mT, units @ self.value_weight.mT
