"""Linear attention with positive features: the classical twin of `qmsan` and `kernel`."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights
from ketformer.attention.inputs import TokenInputs
from ketformer.errors import KetformerError


class ClassicalLinear(Attention):
    """Weight f(q)·f(k) over its row sum, with f(x) = elu(x) + 1 of linear queries and keys.

    This is the linear attention of arXiv 2006.16236: no product of features is negative, and long
    sequences take O(T). A mixed state of m qubits is 4^m real features, and tr ρσ is their dot
    product, so :class:`QMSAN <ketformer.attention.qmsan.QMSAN>` differs from this mechanism only
    in its features and values.

    Args:
        n_features: width of each head's queries and keys; 16, as two kept qubits have.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    default_normalise = "sum"
    dot_is_positive = True
    paper = "2006.16236"
    rotary_positions = False
    control = "linear attention with as many positive features as qmsan's mixed states have"
    linear_values = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        n_features: int = 16,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        if n_features < 1:
            raise KetformerError(f"n_features must be positive, got {n_features}")
        check_weights("n_features", hidden_size, 2 * num_heads * n_features)
        self.qk_proj = nn.Linear(hidden_size, 2 * num_heads * n_features, bias=self.bias)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def score_weights(self) -> list[Tensor]:
        """The map to queries and keys."""
        return [self.qk_proj.weight]

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Positive features ``[B, H, T, n_features]``, linear values."""
        features = F.elu(self.qk_proj(hidden_states)) + 1
        query, key = (self.split_heads(half) for half in features.chunk(2, dim=-1))
        return query, key, self.split_heads(self.value_proj(hidden_states))
