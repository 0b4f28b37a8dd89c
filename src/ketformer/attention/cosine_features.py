"""Cosines of differences of angles as a score, for mechanisms that differ in their frequencies."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.errors import KetformerError


class CosineFeatures(Attention):
    """Score sqrt(d_model) (1/m) sum_r cos(w_r·(a - b)), with linear angles; linear values.

    The angles a of a query and b of a key are those of :class:`Overlap
    <ketformer.attention.overlap.Overlap>` (linear in the hidden state, for each head, and drawn
    alike), and so is the factor sqrt(d_model). A subclass supplies the m frequencies w_r. Since
    cos(x - y) = cos x cos y + sin x sin y, the score is a dot product of 2m features: no state of
    2^n amplitudes is needed.

    Args:
        n_angles: angles n of each query and key; 6, as many as the qubits of ``overlap``.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    default_score = "dot"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_angles: int = 6,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if n_angles < 1:
            raise KetformerError(f"n_angles must be positive, got {n_angles}")
        self.n_angles = n_angles
        check_weights("n_angles", hidden_size, 2 * num_heads * n_angles)
        self.angle_proj = nn.Linear(hidden_size, 2 * num_heads * n_angles)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def waves(self, angles: Tensor, evolved: Tensor | None) -> Tensor:
        """The products w_r·a, ``[B, H, T, m]``, in general phases.

        Args:
            angles: a, ``[B, H, T, n]``.
            evolved: what ``rotary`` positions add to the angles, broadcastable to them.
        """
        raise NotImplementedError  # abstract

    def dot_scale(self, width: int) -> float:
        """sqrt(d_model), as in ``overlap``: a mean of cosines lies within [-1, 1] too."""
        return math.sqrt(self.hidden_size)

    def score_weights(self) -> list[Tensor]:
        """The map to the angles."""
        return [self.angle_proj.weight]

    def reset_parameters(self) -> None:
        """Draw the map to the angles as in ``overlap``: a deviation of half a radian."""
        super().reset_parameters()
        nn.init.normal_(self.angle_proj.weight, std=0.5 * self.hidden_size**-0.5)
        nn.init.zeros_(self.angle_proj.bias)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (cos, sin)(w_r·a)/sqrt(m), ``[B, H, T, 2m]``; linear values."""
        query, key = map(self.split_heads, self.angle_proj(hidden_states).chunk(2, dim=-1))
        value = self.split_heads(self.value_proj(hidden_states))
        evolved = None
        if self.positions == "rotary":
            evolved = self.phases(hidden_states, tokens, self.n_angles).unsqueeze(1)
        # Angles lose too many digits in half precision.
        wide = torch.promote_types(query.dtype, torch.float32)
        query, key = (self.features(self.waves(x.to(wide), evolved)) for x in (query, key))
        return query.to(value.dtype), key.to(value.dtype), value

    def rotate(self, queries: Tensor, keys: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing: with ``rotary``, position times a frequency is added to each angle.

        So it is in ``overlap``, and the score depends on the difference of the positions.
        """
        return queries, keys

    def features(self, waves: Tensor) -> Tensor:
        """(cos, sin) of each wave over sqrt(m), ``[B, H, T, 2m]``."""
        scale = float(waves.shape[-1] ** -0.5)
        return torch.cat([waves.cos(), waves.sin()], dim=-1) * scale
