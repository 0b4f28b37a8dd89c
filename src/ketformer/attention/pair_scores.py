"""Scores that hardware measures for each pair of positions, in the form that attention takes."""

from __future__ import annotations

import torch
from torch import Tensor


def pairs_of(hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of query and key, ``[N]`` each, of the N pairs i >= j, row by row."""
    length = hidden_states.shape[1]
    row, column = torch.tril_indices(length, length, device=hidden_states.device)
    return row, column


def as_queries(measured: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The measured scores as queries, and unit vectors as keys to read them off.

    Args:
        measured: ``[B, N, H]``, a score for each of :func:`pairs_of`.
        values: ``[B, H, T, Dv]``.

    Returns:
        ``[B, H, T, T]`` both; scores of later keys are 0.
    """
    length = values.shape[-2]
    row, column = torch.tril_indices(length, length, device=values.device)
    scores = values.new_zeros(*values.shape[:2], length, length)
    scores[:, :, row, column] = measured.transpose(1, 2)
    keys = torch.eye(length, dtype=values.dtype, device=values.device)
    return scores, keys.expand_as(scores)
