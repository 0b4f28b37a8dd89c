"""Classical attention whose values pass through a narrow linear map."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from ketformer.attention.base import CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.linear_queries import LinearQueries
from ketformer.errors import KetformerError


class ClassicalBottleneck(LinearQueries):
    """Linear queries and keys as in GPT; values of low rank, d -> value_width -> d.

    A circuit on a few qubits that computes values also squeezes the token through a few numbers.
    In QASA that alone explains the gain (arXiv 2504.05336 v4): a classical bottleneck of the same
    size does as well. It is the twin of :class:`~ketformer.attention.qasa.QASA` with as many qubits
    as ``value_width``.

    Args:
        value_width: width of the narrow map that all heads share.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size.
    """

    default_score = "dot"
    default_bias = False
    control = "values of low rank, as narrow as those of qasa, which pass through a few qubits"

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        value_width: int = 8,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if value_width < 1:
            raise KetformerError(f"value_width must be positive, got {value_width}")
        check_weights("value_width", hidden_size, 2 * value_width)
        self.narrow_proj = nn.Linear(hidden_size, value_width, bias=False)
        self.value_proj = nn.Linear(value_width, hidden_size, bias=self.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the map back so that values start as large as those of a single linear map."""
        super().reset_parameters()
        nn.init.normal_(self.value_proj.weight, std=self.value_proj.in_features**-0.5)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear queries and keys, linear values of low rank."""
        query, key = self.qk_proj(hidden_states).chunk(2, dim=-1)
        value = self.value_proj(self.narrow_proj(hidden_states))
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)
