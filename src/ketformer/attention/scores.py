"""The score: what goes into the softmax, given queries and keys.

Every function takes queries ``[B, H, Tq, Dk]`` (already divided by the
temperature where that is possible) and keys ``[B, H, Tk, Dk]``.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Score = Literal["gaussian", "double_exponential", "dot"]
SCORES: tuple[str, ...] = get_args(Score)


def as_dot_product(
    score: Score, queries: Tensor, keys: Tensor, temperature: Tensor | float
) -> tuple[Tensor, Tensor] | None:
    """Queries and keys whose plain dot product has the same softmax as the score.

    ``dot``: q·k / (sqrt(Dk) t). ``gaussian``: -‖q-k‖²/t; its -‖q‖² is the same
    along a row, so [2q, 1]/t and [k, -‖k‖²] do, and the fused kernel can run.
    ``double_exponential`` has no such form: None.
    """
    if score == "dot":
        return queries * (queries.shape[-1] ** -0.5 / temperature), keys
    if score == "gaussian":
        one = torch.ones_like(queries[..., :1])
        long_queries = torch.cat([2 * queries, one], dim=-1) / temperature
        return long_queries, torch.cat([keys, -keys.square().sum(-1, keepdim=True)], dim=-1)
    return None


def reference_scores(
    score: Score, queries: Tensor, keys: Tensor, temperature: Tensor | float
) -> Tensor:
    """The scores ``[B, H, Tq, Tk]`` as they are written in the papers.

    ``gaussian`` is -‖q-k‖²/t. ``double_exponential`` is exp(-‖q-k‖²/t), which the
    released code of arXiv 2603.03318 puts *into* the softmax: weights in a row
    then differ by a factor of e at most.
    """
    dot = queries @ keys.mT
    if score == "dot":
        return dot * queries.shape[-1] ** -0.5 / temperature
    square = queries.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    gaussian = -(square - 2 * dot).clamp_min(0) / temperature
    return gaussian if score == "gaussian" else gaussian.exp()
