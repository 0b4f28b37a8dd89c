"""The classical control of `qisa`: quadratic values of equal rank, without Pauli strings."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.drawn import Drawn
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries
from ketformer.errors import KetformerError


class ClassicalQuadratic(Drawn, LinearQueries):
    """Linear queries and keys; values v_h = <Lx|S_h|Lx>, with fixed random symmetric S_h.

    Half of the eigenvalues of S_h are 1 and half are -1, as for a Pauli string, but its basis is
    random. Rank, spectrum and number of parameters match :class:`QISA
    <ketformer.attention.qisa.QISA>`, but qubits would not make these forms easy. A gain over
    ``classical`` that only QISA shows is due to its Pauli strings; one that both show, to the
    square.

    Args:
        hilbert_dim: width of L for each head, and rank of the forms; the head width by default.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    control = "quadratic values of the rank and spectrum of Pauli strings, without Pauli strings"
    forms: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        hilbert_dim: int | None = None,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        self.hilbert_dim = self.head_dim if hilbert_dim is None else hilbert_dim
        if self.hilbert_dim < 1:
            raise KetformerError(f"hilbert_dim must be positive, got {hilbert_dim}")
        check_weights("hilbert_dim", hidden_size, num_heads * self.hilbert_dim)
        check_weights("hilbert_dim", self.head_dim * self.hilbert_dim, self.hilbert_dim)
        self.state_proj = nn.Linear(hidden_size, num_heads * self.hilbert_dim, bias=False)
        # Drawn from torch's global generator and saved with the model, like Pauli strings.
        self.register_drawn("forms", _forms(self.head_dim, self.hilbert_dim))
        self.reset_parameters()

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, quadratic values."""
        mapped = self.state_proj(hidden_states).flatten(0, 1)
        states = mapped.unflatten(-1, (self.num_heads, -1))  # [BT, H, D]
        # Products of entries lose too many digits in half precision.
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        forms = self.forms.to(wide.dtype)
        turned = (wide @ forms.flatten(0, 1).mT).unflatten(-1, forms.shape[:2])  # [BT, H, S, D]
        values = (turned @ wide.unsqueeze(-1)).squeeze(-1)
        return self.beside(hidden_states, values.to(states.dtype))


def _forms(count: int, size: int) -> Tensor:
    """``[count, size, size]``: Q diag(1, -1, 1, …) Qᵀ with Haar-random orthogonal Q."""
    signs = torch.ones(size, device="cpu")
    signs[1::2] = -1
    gaussian = torch.randn(count, size, size, device="cpu")
    orthogonal, upper = torch.linalg.qr(gaussian.double())
    # Without the signs of R, Q would not be Haar-distributed (Mezzadri 2007).
    orthogonal = orthogonal * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    forms: Tensor = (orthogonal * signs) @ orthogonal.mT
    return forms.float()
