"""Dropout that does nothing but return its input when the model is not training."""

from __future__ import annotations

from torch import Tensor, nn


class Dropout(nn.Dropout):
    """As in torch, without a call of an operation for each token that is generated."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """The input, in training with some numbers dropped."""
        return super().forward(hidden_states) if self.training else hidden_states
