"""Classical attention with as many parameters as `overlap`: the control of arXiv 2502.19214."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.inputs import ConditionEmbedding, InputSizes, TokenInputs
from ketformer.errors import KetformerError

Features = Literal["hidden", "embedding"]


class ClassicalEqual(Attention):
    """Linear queries and keys of reduced width, linear values.

    With ``features="embedding"``, as published, queries and keys come from the sum of
    separate narrow embeddings of token, position and conditions; the score keeps the
    factor 1/sqrt(hidden_size). With ``"hidden"`` they come from the hidden state, queries
    have a bias, and the factor is 1/sqrt(query_width).

    Args:
        features: where queries and keys come from.
        query_width: width of each head's queries and keys. The default is 6 from the hidden
            state, like the angles of six qubits, and as published from embeddings: 2, or 3
            with conditions.
        feature_width: width of the narrow embeddings; as published 3, or 2 with conditions.

    Other options as in :class:`~ketformer.attention.Attention`.
    """

    default_score = "dot"
    paper = "2502.19214"
    control = "classical attention with queries and keys as narrow as the angles of overlap"
    linear_values = True

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        features: Features = "hidden",
        query_width: int | None = None,
        feature_width: int | None = None,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("features", features, get_args(Features))
        for name, value in (("query_width", query_width), ("feature_width", feature_width)):
            if value is not None and value < 1:
                raise KetformerError(f"{name} must be positive, got {value}")
        self.tables: NarrowTables | None = None
        source, width, bias = hidden_size, query_width or 6, True
        if features == "embedding":
            if self.inputs is None:
                raise KetformerError(
                    'features="embedding" needs the sizes of the decoder\'s inputs'
                )
            self.require_learned_positions('features="embedding" has a table of positions')
            conditional = self.inputs.n_conditions > 0
            source = feature_width or (2 if conditional else 3)
            width = query_width or (3 if conditional else 2)
            rows = self.inputs.vocab_size + self.inputs.max_positions
            check_weights("feature_width", rows, source)
            self.tables, bias = NarrowTables(self.inputs, source), self.bias
        elif feature_width is not None:
            raise KetformerError('feature_width requires features="embedding"')
        check_weights("query_width", source, num_heads * width)
        self.query_proj = nn.Linear(source, num_heads * width, bias=bias)
        # A bias of the keys would add the same number to all scores of a row.
        self.key_proj = nn.Linear(source, num_heads * width, bias=False)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def dot_scale(self, width: int) -> float:
        """1/sqrt(query_width), or 1/sqrt(hidden_size) as published."""
        return float((width if self.tables is None else self.hidden_size) ** -0.5)

    def score_weights(self) -> list[Tensor]:
        """The maps to queries and keys; narrow tables have a scale of their own."""
        return [self.query_proj.weight, self.key_proj.weight] if self.tables is None else []

    def reset_parameters(self) -> None:
        """Initialise the tables: see :meth:`NarrowTables.reset_parameters`."""
        super().reset_parameters()
        if self.tables is not None:
            self.tables.reset_parameters()

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Narrow linear queries and keys, linear values."""
        source = hidden_states if self.tables is None else self.tables(tokens)
        query, key = self.query_proj(source), self.key_proj(source)
        value = self.value_proj(hidden_states)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)


class NarrowTables(nn.Module):
    """Narrow token, position and condition embeddings, separate from the decoder's."""

    def __init__(self, sizes: InputSizes, width: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(sizes.vocab_size, width))
        self.positions = nn.Parameter(torch.empty(sizes.max_positions, width))
        self.conditions = ConditionEmbedding(sizes, width) if sizes.n_conditions else None

    def reset_parameters(self) -> None:
        """Draw token embeddings from a standard normal, set position embeddings to 0."""
        nn.init.normal_(self.tokens)
        nn.init.zeros_(self.positions)

    def forward(self, tokens: TokenInputs | None) -> Tensor:
        """The sum of the embeddings, ``[B, T, width]``."""
        if tokens is None or tokens.input_ids is None:
            raise KetformerError("this mechanism looks up its tokens: pass `tokens`")
        out = self.tokens[tokens.input_ids] + self.positions[tokens.position_ids]
        if self.conditions is not None:
            if tokens.conditions is None:
                raise KetformerError(
                    "this mechanism was built for conditions: pass them in `tokens`"
                )
            out = out + self.conditions(tokens.conditions, tokens.unknown)[:, None]
        return out
