"""The classical twin of `vqc`: the same narrow linear maps, and a tanh in place of the circuit."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from ketformer.attention.base import CommonOptions
from ketformer.attention.narrow_heads import NarrowHeads
from ketformer.errors import KetformerError


class ClassicalTanh(NarrowHeads):
    """q, k, v = tanh(Ax + b) of n numbers for each head, with values widened by a linear map.

    What ``vqc`` has around its circuits, without the circuits: a bottleneck of the same width whose
    outcomes are bounded alike. ``classical_bottleneck`` narrows the values alone, and linearly.

    Args:
        narrow_width: the numbers n of each query, key and value; 4, as many as the qubits of
            ``vqc``.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    control = "the narrow maps of vqc with a tanh in place of each circuit"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        narrow_width: int = 4,
        **common: Unpack[CommonOptions],
    ) -> None:
        if narrow_width < 1:
            raise KetformerError(f"narrow_width must be positive, got {narrow_width}")
        super().__init__(hidden_size, num_heads, width=narrow_width, **common)
        self.reset_parameters()

    def outcomes(self, narrow: Tensor) -> Tensor:
        """The numbers between -1 and 1."""
        return narrow.tanh()
