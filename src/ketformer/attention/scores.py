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
    score: Score, queries: Tensor, keys: Tensor, temperature: Tensor | float, dot_scale: float
) -> tuple[Tensor, Tensor] | None:
    """Queries and keys whose plain dot product has the same softmax as the score.

    ``dot``: q·k times its scale, over t. ``gaussian``: -‖q-k‖²/t; its -‖q‖² is the same
    along a row, so [2q, 1]/t and [k, -‖k‖²] do, and the fused kernel can run.
    ``double_exponential`` has no such form: None.
    """
    if score == "dot":
        return queries * (dot_scale / temperature), keys
    if score == "gaussian":
        columns = _minus_squared_norm(keys)
        ones = torch.ones_like(queries[..., :1]).expand(*queries.shape[:-1], columns.shape[-1])
        long_queries = torch.cat([2 * queries, ones], dim=-1) / temperature
        return long_queries.to(queries.dtype), torch.cat([keys, columns], dim=-1)
    return None


def _minus_squared_norm(keys: Tensor) -> Tensor:
    """-‖k‖² as one column, or in half precision as two whose sum keeps twice the digits.

    A norm is far larger than the differences that the softmax sees, so rounding it to
    bfloat16 would shift whole columns of scores by several per cent.
    """
    if keys.dtype not in (torch.float16, torch.bfloat16):
        return -keys.square().sum(-1, keepdim=True)
    exact = -keys.float().square().sum(-1, keepdim=True)
    high = exact.to(keys.dtype)
    return torch.cat([high, (exact - high.float()).to(keys.dtype)], dim=-1)


def reference_scores(
    score: Score, queries: Tensor, keys: Tensor, temperature: Tensor | float, dot_scale: float
) -> Tensor:
    """The scores ``[B, H, Tq, Tk]`` as they are written in the papers, float32 at least.

    ``gaussian`` is -‖q-k‖²/t. ``double_exponential`` is exp(-‖q-k‖²/t), which the
    released code of arXiv 2603.03318 puts *into* the softmax: weights in a row
    then differ by a factor of e at most.
    """
    if queries.dtype in (torch.float16, torch.bfloat16):  # see _minus_squared_norm
        queries, keys = queries.float(), keys.float()
    dot: Tensor = queries @ keys.mT
    if score == "dot":
        return dot * dot_scale / temperature
    square: Tensor = queries.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    gaussian: Tensor = -(square - 2 * dot).clamp_min(0) / temperature
    return gaussian if score == "gaussian" else torch.exp(gaussian)
