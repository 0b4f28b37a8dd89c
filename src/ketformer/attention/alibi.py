"""ALiBi: scores fall linearly with the distance in positions (arXiv 2108.12409)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Keys carry their positions through the cache as two numbers below this, which bfloat16 holds
# exactly up to position 65,535.
_DIGIT = 256


def slopes(num_heads: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The slope of each head, ``[num_heads]``.

    For n = 2^k heads the geometric sequence 2^(-8/n), 2^(-16/n), …; for other numbers that of
    the power of two below, then every second slope of the next power (section 3 of the paper,
    and its released code).
    """
    power = 1 << (num_heads.bit_length() - 1)
    whole = torch.arange(1, power + 1, dtype=dtype, device=device) / power
    more = torch.arange(num_heads - power, dtype=dtype, device=device)
    return torch.exp2(-8 * torch.cat([whole, (more + 0.5) / power]))


@dataclass(frozen=True)
class LinearBias:
    """-slope_h (i - j), to be added to the scores of positions i and j.

    Attributes:
        num_heads: number of heads H.
        queries: positions of the queries, ``[B or 1, Tq]``.
        keys: positions of the keys, ``[B or 1, Tk]``.
    """

    num_heads: int
    queries: Tensor
    keys: Tensor

    def part(self, queries: slice, keys: slice) -> LinearBias:
        """The bias of some of the queries and keys."""
        return LinearBias(self.num_heads, self.queries[:, queries], self.keys[:, keys])

    def __call__(self, dtype: torch.dtype) -> Tensor:
        """``[B or 1, H, Tq, Tk]``, of the type of the queries."""
        wide = torch.promote_types(dtype, torch.float32)
        distances = self.queries[:, None, :, None] - self.keys[:, None, None, :]
        falls = slopes(self.num_heads, wide, distances.device)[:, None, None]
        return (-falls * distances).to(dtype)


def attach(keys: Tensor, position_ids: Tensor) -> Tensor:
    """Keys ``[B, H, T, D]`` with their positions in two more columns, for the cache.

    A cache reorders, selects and crops its keys; only with them do their positions stay right.
    """
    digits = torch.stack([position_ids // _DIGIT, position_ids % _DIGIT], dim=-1).to(keys.dtype)
    return torch.cat([keys, digits.unsqueeze(1).expand(*keys.shape[:-1], -1)], dim=-1)


def detach(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The keys and their positions ``[B, T]``, from what :func:`attach` made."""
    digits = keys[:, 0, :, -2:].long()
    return keys[..., :-2], digits[..., 0] * _DIGIT + digits[..., 1]
