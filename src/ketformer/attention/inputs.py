"""What a mechanism may know about a token besides its hidden state: id, position, conditions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ketformer.utils.choices import Positions


@dataclass(frozen=True)
class InputSizes:
    """What a mechanism is told about the decoder's inputs when it is built.

    Attributes:
        vocab_size: number of tokens.
        max_positions: the context length, in tokens.
        n_conditions: how many conditions each sequence has.
        condition_unknown: whether a condition may be left unknown.
        positions: how the model knows positions. The mechanism does its part for ``rotary`` and
            ``alibi``, the decoder for ``learned``.
        rotary_base: base of the frequencies of ``rotary``.
    """

    vocab_size: int
    max_positions: int
    n_conditions: int = 0
    condition_unknown: bool = True
    positions: Positions = "learned"
    rotary_base: float = 10_000.0


@dataclass(frozen=True)
class TokenInputs:
    """The inputs of the decoder.

    Attributes:
        input_ids: ``[B, T]``; None if the decoder was given embeddings.
        position_ids: ``[B or 1, T]``.
        conditions: ``[B, C]``, standardised, 0 where unknown; None without conditions.
        unknown: ``[B, C]`` bool, true for conditions that are not given.
    """

    input_ids: Tensor | None
    position_ids: Tensor
    conditions: Tensor | None = None
    unknown: Tensor | None = None


def positions_of(hidden_states: Tensor, tokens: TokenInputs | None) -> Tensor:
    """The position of each token, ``[B or 1, T]``: those of ``tokens``, or else 0 to T - 1."""
    if tokens is not None:
        return tokens.position_ids
    return torch.arange(hidden_states.shape[1], device=hidden_states.device).unsqueeze(0)


class ConditionEmbedding(nn.Module):
    """A linear map of the known conditions, and a learned vector for each unknown one.

    Args:
        sizes: how many conditions there are, and whether they can be unknown.
        width: width of the output.
    """

    def __init__(self, sizes: InputSizes, width: int) -> None:
        super().__init__()
        self.known = nn.Linear(sizes.n_conditions, width)
        self.unknown = (
            nn.Parameter(torch.zeros(sizes.n_conditions, width))
            if sizes.condition_unknown
            else None
        )

    def forward(self, conditions: Tensor, unknown: Tensor | None) -> Tensor:
        """``[B, width]`` from standardised values and flags of unknown ones, both ``[B, C]``."""
        out: Tensor = self.known(conditions)
        if self.unknown is not None and unknown is not None:
            out = out + unknown.to(out.dtype) @ self.unknown
        return out

    def reset_parameters(self) -> None:
        """Set the vectors to 0: an unknown condition starts out like one at its mean."""
        if self.unknown is not None:
            nn.init.zeros_(self.unknown)
