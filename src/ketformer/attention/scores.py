"""The score of queries and keys, and how a row of scores becomes weights.

Every function takes queries ``[B, H, Tq, Dk]`` and keys ``[B, H, Tk, Dk]``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Score = Literal["gaussian", "double_exponential", "dot", "square", "absolute"]
SCORES: tuple[str, ...] = get_args(Score)
Normalise = Literal["softmax", "sum", "l2"]
NORMALISE: tuple[str, ...] = get_args(Normalise)
# Added to the sum of squares under the root of a row's L2 norm.
_LEAST_SQUARE = 1e-8
#: Sequences for which calls cost more than sums, with one query each.
_FEW = 8


class DotProduct(NamedTuple):
    """scale · q·k + bias, which has the same softmax over the keys as a score.

    Attributes:
        queries: ``[B, H, Tq, Dk]``.
        keys: ``[B, H, Tk, Dk]``.
        scale: multiplies the dot product.
        bias: broadcastable to ``[B, H, Tq, Tk]``; None for 0.
    """

    queries: Tensor
    keys: Tensor
    scale: float
    bias: Tensor | None = None

    def plus(self, bias: Tensor) -> DotProduct:
        """The same with another bias added, broadcastable to ``[B, H, Tq, Tk]``."""
        return self._replace(bias=bias if self.bias is None else self.bias + bias)


def as_dot_product(
    score: Score,
    queries: Tensor,
    keys: Tensor,
    temperature: Tensor | float,
    dot_scale: float,
    *,
    training: bool,
) -> DotProduct | None:
    """An equivalent of the score that the fused kernel can run, or None.

    ``dot``: q·k times its scale, over t. ``gaussian``: -‖q-k‖²/t, where -‖q‖² is constant
    along a row, so (2 q·k - ‖k‖²)/t is enough. The norm is a bias if that is the smaller tensor
    and needs no gradient, which the fused kernels do not give. Otherwise, and always in training,
    it is an extra column of the keys that meets a 1 in the queries: reentrant checkpointing first
    runs the forward pass without gradients and must round the same way. The others
    have no such form.
    """
    if score not in ("dot", "gaussian"):
        return None
    factor, coldness = 1.0, 1 / temperature
    if isinstance(coldness, Tensor):  # one per head, but the kernel takes a single scale
        queries = (queries * coldness).to(queries.dtype)
    else:
        factor = coldness
    if score == "dot":
        return DotProduct(queries, keys, dot_scale * factor)
    if not training and _prefers_bias(queries, keys):
        bias = keys.square().sum(-1).unsqueeze(-2) * -coldness
        return DotProduct(queries, keys, 2 * factor, bias)
    columns = _minus_squared_norm(keys) / 2
    ones = torch.ones_like(queries[..., :1])
    if isinstance(coldness, Tensor):
        ones = (ones * coldness).to(queries.dtype)
    ones = ones.expand(*queries.shape[:-1], columns.shape[-1])
    # With strided rows the kernel would lose more time than this copy takes.
    queries = torch.cat([queries, ones], dim=-1).contiguous()
    keys = torch.cat([keys, columns], dim=-1).contiguous()
    return DotProduct(queries, keys, 2 * factor)


def _prefers_bias(queries: Tensor, keys: Tensor) -> bool:
    """Whether a bias per pair is smaller than wider copies of queries, keys and values."""
    if is_half(queries):  # see _minus_squared_norm
        return False
    if torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad):
        return False
    rows, columns, width = queries.shape[-2], keys.shape[-2], keys.shape[-1]
    return rows * columns < width * (rows + 2 * columns)


def prefers_plain_products(dot_product: DotProduct, values: Tensor) -> bool:
    """Whether there is one query a sequence, or few that are not as wide as the values.

    One query of each of few sequences is an exception unless it trains: that is a matter of calls,
    and the fused kernel is a single one, but rounds gradients that must be 0.
    """
    queries, keys, *_ = dot_product
    if is_half(queries) or queries.device.type != "cpu":
        return False  # half precision would round the sums; a GPU's kernel has no such limits
    if queries.shape[-2] == 1:
        trains = torch.is_grad_enabled() and queries.requires_grad
        return trains or queries.shape[-1] != values.shape[-1] or queries.shape[0] > _FEW
    if torch.compiler.is_exporting():  # the graph takes any length
        return False
    # The fused kernel works on both at the greater width.
    width, mixed = queries.shape[-1], values.shape[-1]
    few = 64 if width >= 2 * mixed else 32
    return width != mixed and queries.shape[-2] * keys.shape[-2] <= few * few


def is_half(tensor: Tensor) -> bool:
    """Whether the numbers have half precision."""
    return tensor.dtype in (torch.float16, torch.bfloat16)


def _minus_squared_norm(keys: Tensor) -> Tensor:
    """-‖k‖² as one column, or in half precision as two whose sum has twice the digits.

    A norm is far larger than the differences that the softmax sees, so rounding it to
    bfloat16 would shift whole columns of scores by several per cent.
    """
    if not is_half(keys):
        return -keys.square().sum(-1, keepdim=True)
    exact = -keys.float().square().sum(-1, keepdim=True)
    high = exact.to(keys.dtype)
    return torch.cat([high, (exact - high.float()).to(keys.dtype)], dim=-1)


def reference_scores(
    score: Score, queries: Tensor, keys: Tensor, temperature: Tensor | float, dot_scale: float
) -> Tensor:
    """The scores ``[B, H, Tq, Tk]`` as written in the papers, at least in float32.

    ``gaussian`` is -‖q-k‖²/t. ``double_exponential`` is exp(-‖q-k‖²/t), which the
    released code of arXiv 2603.03318 puts *into* the softmax: weights in a row
    then differ by a factor of e at most. ``square`` and ``absolute`` are (q·k)² and |q·k|, times
    their scale over t: measured probabilities of an overlap, and their roots.
    """
    if is_half(queries):  # see _minus_squared_norm
        queries, keys = queries.float(), keys.float()
    dot: Tensor = queries @ keys.mT
    if score == "dot":
        return dot * dot_scale / temperature
    if score == "square":
        return dot.square() * dot_scale / temperature
    if score == "absolute":
        return dot.abs() * dot_scale / temperature
    square: Tensor = queries.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    gaussian: Tensor = -(square - 2 * dot).clamp_min(0) / temperature
    return gaussian if score == "gaussian" else torch.exp(gaussian)


def weights_of(scores: Tensor, mask: Tensor, normalise: Normalise, least_sum: float) -> Tensor:
    """Weights from scores, both ``[B, H, Tq, Tk]``; a row without any key gives 0, not NaN.

    ``softmax``; ``sum``, the scores over their sum, or over ``least_sum`` where the sum is
    smaller, so that a row of vanishing scores vanishes, too; or ``l2``, the scores over their
    Euclidean norm, for which 1e-8 is added to the sum of squares.

    Args:
        scores: for ``sum`` none is negative.
        mask: bool, broadcastable to the scores; false where a key is not seen.
        normalise: how.
        least_sum: the least sum that a row is divided by.
    """
    if normalise == "softmax":
        # The lowest finite number, not -inf.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1) * mask
    scores = scores.masked_fill(~mask, 0)
    if normalise == "sum":
        return scores / scores.sum(-1, keepdim=True).clamp_min(least_sum)
    return scores / (scores.square().sum(-1, keepdim=True) + _LEAST_SQUARE).sqrt()
