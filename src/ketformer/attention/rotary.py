"""Rotary positions: a token's position turns its query and key (arXiv 2104.09864).

Pairs of numbers are rotated, and qubits evolve, by the position times a frequency of their own.
A product of a query and a key then depends on the difference of their positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.errors import KetformerError, NotOfferedError


def phases(position_ids: Tensor, count: int, base: float, dtype: torch.dtype) -> Tensor:
    """Position times frequency, ``[B or 1, T, count]`` in radians.

    Frequency k is base^(-k / count), equation 15 of arXiv 2104.09864 with ``count`` pairs.

    Args:
        position_ids: ``[B or 1, T]``.
        count: number of frequencies.
        base: the slowest frequency tends to its inverse.
        dtype: type of the numbers that are turned. The phases are at least float32: in half
            precision those of neighbouring positions would soon be equal.
    """
    wide = torch.promote_types(dtype, torch.float32)
    steps = torch.arange(count, dtype=wide, device=position_ids.device)
    return position_ids.to(wide).unsqueeze(-1) * base ** (-steps / count)


def require_evolution(name: str, evolves: bool) -> None:
    """Measured scores cannot be turned: the circuits must already know the positions.

    Raises:
        NotOfferedError: the states of the mechanism of that name do not evolve.
    """
    if not evolves:
        raise NotOfferedError(
            f"{name} measures scores, so for positions=rotary its states must evolve with the "
            "position; see Attention.rotate"
        )


def rotate(vectors: Tensor, position_ids: Tensor, base: float) -> Tensor:
    """Queries or keys ``[B, H, T, D]`` with their pairs of numbers rotated by position.

    Entry k of the first half pairs with entry k of the second, as in Llama. The last entry of
    an odd width stays.

    Raises:
        KetformerError: the width is 1.
    """
    count = vectors.shape[-1] // 2
    if not count:
        raise KetformerError(
            "positions=rotary turns pairs of numbers, but a query has only one; make queries "
            "wider (fewer heads, or query_width), or choose other positions"
        )
    angles = phases(position_ids, count, base, vectors.dtype).unsqueeze(1)  # [B or 1, 1, T, D/2]
    cos, sin = angles.cos(), angles.sin()
    one, two = vectors[..., :count], vectors[..., count : 2 * count]
    rest = vectors[..., 2 * count :]
    turned = torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)
    return torch.cat([turned.to(vectors.dtype), rest], dim=-1)
