"""Classical attention whose values are gated by a second linear map: a product, no circuit."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries


class ClassicalGated(LinearQueries):
    """Linear queries and keys as in GPT; values (Ax) * (Bx), entry by entry.

    Each entry is a quadratic form of the token, (a·x)(b·x) = xᵀ (a bᵀ) x, as the expectation of
    an observable is, xᵀ (Lᵀ P L) x; but its matrix is trained, of rank one, and needs no states.
    ``classical_quadratic`` has the rank and spectrum of Pauli strings instead. The gate acts on
    the values and not on the mixed output, so that nothing but the value map differs from
    ``classical``.

    Options as in :class:`~ketformer.attention.Attention`.
    """

    default_score = "dot"
    default_bias = False
    control = "values that are products of two linear maps: the simplest trained quadratic form"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        check_weights("hidden_size", hidden_size, 2 * hidden_size)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.gate_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the gate with deviation 1 for layer-normalised tokens: it does not shrink values."""
        super().reset_parameters()
        nn.init.normal_(self.gate_proj.weight, std=self.hidden_size**-0.5)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, values that are products of two linear maps."""
        query, key = self.qk_proj(hidden_states).chunk(2, dim=-1)
        value = self.value_proj(hidden_states) * self.gate_proj(hidden_states)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)
