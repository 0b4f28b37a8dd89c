"""Random Fourier features of the kernel of `overlap`: its dequantised twin."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.cosine_features import CosineFeatures
from ketformer.attention.drawn import Drawn
from ketformer.errors import KetformerError


class ClassicalFourier(Drawn, CosineFeatures):
    """Score sqrt(d_model) (1/m) sum_r cos(w_r·(a - b)), frequencies w_r drawn once; linear values.

    Without entanglement, states with angles a and b have the overlap prod_i cos((a_i - b_i)/2).
    Expanding each cosine into exponentials gives its spectrum: every frequency s/2 with signs s
    in {-1, 1}^n has weight 2^-n,

        prod_i cos(x_i/2) = 2^-n sum_s exp(i s·x/2) = E_s cos(s·x/2),

    so the mean over m random signs is an unbiased estimate of the kernel, off by at most about
    1/sqrt(m) whatever the number of qubits (random Fourier features; for quantum models, arXiv
    2206.11740). A gain that this mechanism shows too needs no quantum computer. Each head has
    frequencies of its own, saved with the model.

    Args:
        n_angles: angles n of each query and key; 6, as many as the qubits of ``overlap``.
        n_features: frequencies m of each head; queries and keys are 2m wide. The default of 16
            makes them half as wide as the states of six qubits.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    control = "random Fourier features of the kernel of overlap without entanglement"
    signs: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_angles: int = 6,
        n_features: int = 16,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, n_angles=n_angles, **common)
        if n_features < 1:
            raise KetformerError(f"n_features must be positive, got {n_features}")
        check_weights("n_features", num_heads * n_features, n_angles)
        # Drawn from torch's global generator and saved with the model, like Pauli strings.
        drawn = torch.randint(2, (num_heads, n_features, n_angles), device="cpu")
        self.register_drawn("signs", 2.0 * drawn - 1)

    def waves(self, angles: Tensor) -> Tensor:
        """The products of the angles with each frequency s/2."""
        products: Tensor = angles @ self.signs.to(angles.dtype).mT / 2
        return products
