"""Classical attention whose queries and keys have length 1: the scores cannot grow with them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ketformer.attention.classical import ClassicalAttention
from ketformer.attention.inputs import TokenInputs


class ClassicalQKNorm(ClassicalAttention):
    """Score sqrt(d_head) cos(q, k): queries and keys are divided by their lengths, head by head.

    Query-key normalisation of arXiv 2010.04245. Like overlaps of states, the scores are bounded,
    and how far they spread at the start does not depend on how weights are drawn: the cosine of
    two random directions has deviation 1/sqrt(d_head), so the scores have deviation 1. That is
    the fixed scale here; ``temperature`` divides it, and ``learnable_temperature`` trains it, one
    for each head, as the paper does.

    Other options as in :class:`~ketformer.attention.classical.ClassicalAttention`.
    """

    control = "classical attention with queries and keys of length 1, so that scores are bounded"

    def dot_scale(self, width: int) -> float:
        """sqrt(d_head), which gives scores of random directions the deviation 1."""
        return math.sqrt(width)

    def score_weights(self) -> list[Tensor]:
        """None: the lengths of queries and keys cancel."""
        return []

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys divided by their lengths, linear values."""
        query, key, value = super().project(hidden_states, tokens)
        return unit(query), unit(key), value


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; zero, which has no direction, stays zero and has a finite gradient."""
    # Dividing by the largest entry keeps the squares in range; it cancels, so needs no gradient.
    largest = vectors.detach().abs().amax(dim=-1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    squared = scaled.square().sum(dim=-1, keepdim=True)
    return scaled * torch.where(squared > 0, squared, 1).rsqrt()
