"""Mixing the values by the normalised scores, in several ways.

:func:`mix` chooses one. All give the same numbers up to rounding;
:func:`_mix_explicitly` is the readable reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ketformer.attention import distance_short
from ketformer.attention.alibi import LinearBias
from ketformer.attention.linear import CHUNK, Tokens, in_chunks
from ketformer.attention.masking import causal_mask
from ketformer.attention.one_query import can_mix, mix_one_query
from ketformer.attention.scores import (
    DotProduct,
    Normalise,
    Score,
    as_dot_product,
    is_half,
    prefers_plain_products,
    reference_scores,
    weights_of,
)

#: Scores that are a function of the product alone.
_OF_PRODUCTS: dict[str, Callable[[Tensor], Tensor]] = {
    "square": torch.square,
    "absolute": torch.abs,
}
#: Scores of the double exponential below this are 0 to a softmax. Their gradients would be denormal
#: numbers, with which a processor takes many times as long.
_NO_SCORE = 1e-20
#: Scores that are a function of the distance, and so without the scale of the product.
OF_DISTANCES = ("gaussian", "double_exponential")
#: Queries scored at a time where no fused kernel supports the score.
_CHUNK = 256
#: Scores of a head up to which a CPU multiplies those of parts faster than it fuses whole queries,
#: if these are as wide as the values; wider ones take longer.
_FEW_SCORES = 2 * 64 * 64


class Weighting(NamedTuple):
    """How scores are computed and used.

    Attributes:
        score: name of the score.
        temperature: divides the score: a number, or ``[H, 1, 1]``.
        dot_scale: multiplies q·k in the score ``dot``.
        causal: position i takes values of positions j <= i; otherwise position j sums the
            values of positions i >= j.
        dropout: probability of dropping a weight while training.
        training: whether the module is training.
        bias: added to the scores in a softmax, otherwise a factor exp(bias); None for nothing.
        normalise: how a row of scores becomes weights, see
            :func:`~ketformer.attention.scores.weights_of`.
        least_sum: the least sum of scores that ``sum`` divides by.
        parts: widths of the parts whose products keys are; queries, too, unless they are wider: q·k
            is then the product of the parts' dot products. () for keys as they are.
        has_kernel: whether there are native kernels for scores of distances.
    """

    score: Score
    temperature: Tensor | float
    dot_scale: float
    causal: bool
    dropout: float
    training: bool
    bias: LinearBias | None = None
    normalise: Normalise = "softmax"
    least_sum: float = 0.0
    parts: tuple[int, ...] = ()
    has_kernel: bool = False


def mix(
    how: Weighting,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Mix the values by the normalised scores.

    Args:
        how: how scores are computed and used.
        queries: ``[B, H, Tq, Dk]``, or the parts side by side.
        keys: ``[B, H, Tk, Dk]``, likewise.
        values: ``[B, H, Tk, Dv]``.
        mask: bool, broadcastable to ``[B, 1, Tq, Tk]``; None for plain causal attention, where
            ``Tq == Tk`` or a single query sees every key.
        return_weights: also return the weights, which only the explicit path computes.

    Returns:
        ``[B, H, Tq, Dv]``, and the weights ``[B, H, Tq, Tk]`` or None.
    """
    scale = None if return_weights else _one_scale(how)
    is_one = scale is not None and can_mix(queries, keys, values)
    if is_one:
        in_parts = _is_of_products(how.score)
    else:
        in_parts = not return_weights and _prefers_parts(how, queries, keys, values)
    if how.parts and not in_parts:
        queries, keys = _whole(queries, how.parts), joined(keys, how.parts)
        how = how._replace(parts=())
    if return_weights:
        return _mix_explicitly(how, queries, keys, values, mask)
    if is_one:
        assert scale is not None
        queries = _whole(queries, how.parts)
        return mix_one_query(how.score, scale, queries, keys, values, mask, how.parts), None
    if how.parts:
        return _mix_products(how, queries, keys, values, mask), None
    if scale is not None and _is_short(how, queries, keys, values):
        exponential = how.score == "double_exponential"
        mixed = distance_short.mix_distances(
            scale, queries, keys, values, mask, exponential=exponential
        )
        return mixed, None
    if how.normalise != "softmax":
        if mask is None and _prefers_prefix_sums(how, queries, values):
            return _mix_by_prefix_sums(how, queries, keys, values), None
        if mask is None and _is_short_sum(how, queries, keys):
            return _mix_short_sums(how, queries, keys, values), None
    elif how.causal:
        terms = how.score, queries, keys, how.temperature, how.dot_scale
        if dot_product := as_dot_product(*terms, training=how.training):
            if how.bias is not None:
                dot_product = dot_product.plus(how.bias(queries.dtype))
            if prefers_plain_products(dot_product, values):
                return _mix_short(how, dot_product, values, mask), None
            return _mix_fused(how, dot_product, values, mask), None
        if how.score in _OF_PRODUCTS and queries.shape[-2] <= _CHUNK and not is_half(queries):
            return _mix_products(how, queries, keys, values, mask), None
    if queries.shape[-2] <= _CHUNK:
        return _mix_explicitly(how, queries, keys, values, mask)[0], None
    return _mix_in_chunks(how, queries, keys, values, mask), None


def _mix_fused(
    how: Weighting, dot_product: DotProduct, values: Tensor, mask: Tensor | None
) -> Tensor:
    queries, keys, scale, bias = dot_product
    if bias is not None:
        if mask is None:
            mask = causal_mask(queries, keys)
        mask = bias.masked_fill(~mask, -math.inf)
    # The fused CPU kernel needs equal widths; zero columns of values cost little.
    width = max(queries.shape[-1], values.shape[-1])
    mixed = F.scaled_dot_product_attention(
        widen(queries, width),
        widen(keys, width),
        widen(values, width),
        attn_mask=mask,
        dropout_p=how.dropout if how.training else 0.0,
        is_causal=mask is None and bool(queries.shape[-2] > 1),  # a single query sees every key
        scale=scale,
    )
    return mixed[..., : values.shape[-1]]


def _one_scale(how: Weighting) -> float | None:
    """The number that multiplies every score in a causal softmax; None for any other weights."""
    if how.normalise != "softmax" or not how.causal or how.bias is not None:
        return None
    if isinstance(how.temperature, Tensor):
        return None
    return (1.0 if how.score in OF_DISTANCES else how.dot_scale) / how.temperature


def _prefers_parts(how: Weighting, queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether the scores are few enough to be multiplied rather than left to a fused kernel."""
    if how.normalise != "softmax" or not how.causal or is_half(queries):
        return False
    if not _is_of_products(how.score) or queries.shape[-1] != sum(how.parts):
        return False
    if torch.compiler.is_exporting():  # the graph takes any length
        return False
    rows, columns = queries.shape[-2], keys.shape[-2]
    few = rows * columns * values.shape[-1] <= _FEW_SCORES * math.prod(how.parts)
    return rows == 1 or (queries.device.type == "cpu" and few)


def _is_short(how: Weighting, queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether one kernel makes and uses these scores of distances."""
    drops = how.dropout and how.training  # single weights
    if drops or not how.has_kernel or how.score not in OF_DISTANCES:
        return False
    return distance_short.can_mix(queries, keys, values)


def _is_of_products(score: Score) -> bool:
    return score == "dot" or score in _OF_PRODUCTS


def _whole(queries: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Plain queries, from these or from parts."""
    return joined(queries, parts) if parts and queries.shape[-1] == sum(parts) else queries


def joined(states: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Products of every entry of one part with every one of the others: plain queries or keys."""
    whole: Tensor
    whole, *others = states.split(parts, dim=-1)
    for other in others:
        whole = (whole.unsqueeze(-1) * other.unsqueeze(-2)).flatten(-2)
    return whole


def _mix_products(
    how: Weighting, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Scores that are a function of q·k, or of the product of its parts."""
    factor = how.dot_scale / how.temperature
    if how.score == "square":
        factor = factor**0.5
    bias = None if how.bias is None else how.bias(queries.dtype)
    if how.parts:
        first, *others = queries.split(how.parts, dim=-1)
        queries = torch.cat([first * factor, *others], dim=-1)
    else:
        queries = queries * factor
    return _mix_short(how, DotProduct(queries, keys, 1.0, bias), values, mask)


def _mix_short(
    how: Weighting, dot_product: DotProduct, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Plain matrix products: where the fused kernel is slower, or has no such score."""
    queries, keys, scale, bias = dot_product
    scores = _products(queries if scale == 1 else queries * scale, keys, how.parts)
    if how.score in _OF_PRODUCTS:
        scores = _OF_PRODUCTS[how.score](scores)
    if bias is not None:
        scores = scores + bias
    seen = causal_mask(queries, keys) if mask is None and queries.shape[-2] > 1 else mask
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights * mask  # a row without any key gives 0
    if how.training:
        weights = F.dropout(weights, how.dropout)
    return weights @ values


def _products(queries: Tensor, keys: Tensor, parts: tuple[int, ...]) -> Tensor:
    """The dot products of queries and keys, ``[B, H, Tq, Tk]``; of parts, their products."""
    if not parts:
        return queries @ keys.mT
    sides = (each.split(parts, dim=-1) for each in (queries, keys))
    products: Tensor
    products, *others = (query @ key.mT for query, key in zip(*sides, strict=True))
    for other in others:
        products = products * other
    return products


def _mix_explicitly(
    how: Weighting,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The readable reference, and the only path that returns the weights.

    The last query is at the position of the last key.
    """
    scores = reference_scores(how.score, queries, keys, how.temperature, how.dot_scale)
    if how.score == "double_exponential" and how.normalise == "softmax":
        scores = F.threshold(scores, _NO_SCORE, 0.0)
    if how.bias is not None:
        bias = how.bias(scores.dtype)
        scores = scores + bias if how.normalise == "softmax" else scores * bias.exp()
    if mask is None:
        mask = causal_mask(queries, keys)
    weights = weights_of(scores, mask, how.normalise, how.least_sum).to(values.dtype)
    if not how.causal:
        # Padding must pass nothing on: a row counts only if its position is a token.
        own = mask.diagonal(keys.shape[-2] - queries.shape[-2], dim1=-2, dim2=-1)
        weights = (weights * own[..., None]).mT
    return F.dropout(weights, how.dropout, how.training) @ values, weights


def _mix_in_chunks(
    how: Weighting, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """:func:`_mix_explicitly` in chunks of queries; the backward pass recomputes the weights.

    Memory is then linear in the sequence length, as with a fused kernel.
    """
    rows, columns = queries.shape[-2], keys.shape[-2]
    mixed = []
    for begin in range(0, rows, _CHUNK):
        end = min(begin + _CHUNK, rows)
        seen = columns - rows + end  # no query of the chunk sees more
        own = slice(None, seen) if how.causal else slice(begin, end)
        bias = None if how.bias is None else how.bias.part(slice(begin, end), slice(seen))
        part = checkpoint(
            lambda *parts: _mix_explicitly(*parts)[0],
            how._replace(bias=bias),
            queries[..., begin:end, :],
            keys[..., :seen, :],
            values[..., own, :],
            None if mask is None else mask[..., begin:end, :seen],
            use_reentrant=False,
        )
        mixed.append(part)
    if how.causal:
        return torch.cat(mixed, dim=-2)
    total = torch.zeros_like(values)
    for part in mixed:
        total = total + F.pad(part, (0, 0, 0, columns - part.shape[-2]))
    return total


def _prefers_prefix_sums(how: Weighting, queries: Tensor, values: Tensor) -> bool:
    """Whether the sums of keys times values are cheaper than a score for each pair.

    They are the same for a row sum of dot products, the same for each key whatever the query.
    """
    if how.normalise != "sum" or how.score != "dot" or how.bias is not None or not how.causal:
        return False
    if how.dropout and how.training:  # it drops single weights
        return False
    if torch.compiler.is_exporting():  # the graph takes any length
        return False
    length, width, mixed = queries.shape[-2], queries.shape[-1], values.shape[-1] + 1
    # Products for each position: with every key, or with those of its chunk and the sums.
    return length * (width + mixed) > CHUNK * (width + mixed) + 2 * width * mixed


def _mix_by_prefix_sums(how: Weighting, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """A row sum in O(T): q·(sum of k vᵀ) over q·(sum of k), both over the positions so far."""
    ones = torch.ones_like(values[..., :1])
    if how.dot_scale != 1:
        queries = queries * how.dot_scale
    tokens = Tokens(queries[:, :, None, None], keys, torch.cat([values, ones], dim=-1))
    mixed = in_chunks(tokens, keep=False)[0].squeeze(2)
    return (mixed[..., :-1] / mixed[..., -1:].clamp_min(how.least_sum)).to(values.dtype)


def _is_short_sum(how: Weighting, queries: Tensor, keys: Tensor) -> bool:
    """Whether it is a causal row sum of dot products, of few positions in full precision."""
    if how.normalise != "sum" or how.score != "dot" or how.bias is not None or not how.causal:
        return False
    return queries.shape[-2] == keys.shape[-2] <= _CHUNK and not is_half(queries)


def _mix_short_sums(how: Weighting, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """:func:`_mix_explicitly` in fewer passes over the scores."""
    scores = ((queries if how.dot_scale == 1 else queries * how.dot_scale) @ keys.mT).tril_()
    weights = scores / scores.sum(-1, keepdim=True).clamp_min(how.least_sum)
    return F.dropout(weights, how.dropout, how.training) @ values


def widen(tensor: Tensor, width: int) -> Tensor:
    """The tensor with columns of 0 up to that width."""
    missing = width - tensor.shape[-1]
    return F.pad(tensor, (0, missing)) if missing else tensor
