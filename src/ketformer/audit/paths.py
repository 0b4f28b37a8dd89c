"""The other ways in which a decoder is used, compared with its plain forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.audit.result import Check
from ketformer.audit.subjects import Subject, difference, outputs_of
from ketformer.errors import NotOfferedError, one_line

_PADDING = 3  # tokens to the left
#: Names of a cache in the arguments and results of models of transformers.
_CACHES = ("past_key_values", "cache_params", "state")
#: transformers would warn, and return none.
_WITHOUT_WEIGHTS = ("sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
# Paths with other shapes round otherwise: up to this part of the largest output they are equal.
_EQUAL = 1e-5


class _NotChecked(Exception):  # noqa: N818 - no error: a reason
    """Why a check could not be made."""


def further_checks(subject: Subject, inputs: Tensor, tolerance: float) -> tuple[Check, ...]:
    """All checks; one that a model does not support says so.

    Args:
        subject: in evaluation mode.
        inputs: ``[B, T]``.
        tolerance: up to this, a change of outputs of the same shape is rounding.
    """
    found = []
    for name, check in _CHECKS.items():
        try:
            found.append(Check(name, *check(subject, inputs, tolerance)))
        except _NotChecked as why:
            found.append(Check(name, None, None, str(why)))
        except Exception as error:  # the model may raise anything
            found.append(Check(name, None, None, one_line(error)))
    return tuple(found)


_Found = tuple[bool, float, str]


def _batch(subject: Subject, inputs: Tensor, tolerance: float) -> _Found:
    if len(inputs) < 2:
        raise _NotChecked("a batch needs two sequences")
    others = inputs.clone()
    others[1:] = subject.replaced(inputs)[1:]
    moved = float(difference(subject(others)[0], subject(inputs)[0]).max())
    if moved > tolerance:
        return False, moved, f"batch leak: other rows change the outputs of a row by {moved:.2g}"
    return True, moved, "no row changes with another row"


def _cache(subject: Subject, inputs: Tensor, _: float) -> _Found:
    name = next(filter(subject.accepts, _CACHES), None)
    if name is None or not subject.accepts("use_cache"):
        raise _NotChecked("the model takes no cache")
    full = subject(inputs)
    half = max(inputs.shape[1] // 2, 1)
    pieces: list[Tensor] = []
    given: dict[str, Any] = {}
    for piece in (inputs[:, :half], *inputs[:, half:].split(1, dim=1)):
        returned = subject.raw(piece, use_cache=True, **given)
        if (cache := getattr(returned, name, None)) is None:
            raise _NotChecked(f"the model returns no {name}")
        given = {name: cache}
        pieces.append(outputs_of(returned, piece))
    return _compared(torch.cat(pieces, dim=1), full, "with the cache, token by token,", subject)


def _left_padding(subject: Subject, inputs: Tensor, _: float) -> _Found:
    name = "decoder_attention_mask" if subject.is_encoder_decoder else "attention_mask"
    if not subject.accepts(name):
        raise _NotChecked(f"the model takes no {name}")
    if inputs.shape[1] <= _PADDING:
        raise _NotChecked(f"it needs more than {_PADDING} tokens")
    tokens = inputs[:, _PADDING:]
    pad = getattr(subject.config, "pad_token_id", None)
    padded = torch.cat([torch.full_like(inputs[:, :_PADDING], pad or 0), tokens], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :_PADDING] = 0
    given: dict[str, Any] = {name: mask}
    if subject.accepts("position_ids"):
        given["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    outputs = outputs_of(subject.raw(padded, **given), padded)[:, _PADDING:]
    return _compared(outputs, subject(tokens), "with padding on the left", subject)


def _packing(subject: Subject, inputs: Tensor, tolerance: float) -> _Found:
    if not subject.accepts("position_ids"):
        raise _NotChecked("the model takes no position_ids")
    rows, length = inputs.shape
    first = length // 2
    counted = torch.arange(length, device=inputs.device)
    position_ids = torch.where(counted < first, counted, counted - first).expand(rows, length)
    others = inputs.clone()
    others[:, :first] = subject.replaced(inputs)[:, :first]
    one, other = (
        outputs_of(subject.raw(ids, position_ids=position_ids), ids)[:, first:]
        for ids in (inputs, others)
    )
    moved = float(difference(one, other).max())
    if moved > tolerance:
        said = "the second of two sequences in a row sees the first although position_ids restart"
        return False, moved, f"{said}: {moved:.2g}"
    return True, moved, "two sequences in a row, with position_ids that restart, stay apart"


def _attention_weights(subject: Subject, inputs: Tensor, tolerance: float) -> _Found:
    layers = _weights_of(subject, inputs)
    largest, where = 0.0, []
    for layer, weights in enumerate(layers):
        above = weights.abs().triu(1).amax(dim=(0, 2, 3))
        largest = max(largest, float(above.max()))
        if heads := (above > tolerance).nonzero()[:, 0].tolist():
            where.append(f"layer {layer} heads {', '.join(map(str, heads))}")
    if where:
        return False, largest, f"weights above the diagonal up to {largest:.2g}: {'; '.join(where)}"
    return True, largest, f"all zero above the diagonal, in {len(layers)} layers"


def _weights_of(subject: Subject, inputs: Tensor) -> list[Tensor]:
    """``[B, H, T, T]`` of every layer that returns them."""
    try:
        return _returned_weights(subject, inputs)
    except NotOfferedError as error:
        raise _NotChecked(str(error)) from None


def _returned_weights(subject: Subject, inputs: Tensor) -> list[Tensor]:
    if subject.accepts("return_weights"):
        found: Any = [subject.raw(inputs, return_weights=True)[1]]
    elif not hasattr(subject.config, "output_attentions"):
        raise _NotChecked("the model returns no attention weights")
    else:
        implementation = getattr(subject.config, "_attn_implementation", None)
        if implementation in _WITHOUT_WEIGHTS and _is_of_transformers(subject):
            raise _NotChecked(f"attn_implementation={implementation} returns none; eager does")
        returned = subject.raw(inputs, output_attentions=True)
        name = "decoder_attentions" if subject.is_encoder_decoder else "attentions"
        found = getattr(returned, name, None)
    square = (inputs.shape[1],) * 2
    layers = [w for w in found or () if isinstance(w, Tensor) and w.ndim == 4]
    if not layers or any(w.shape[-2:] != square for w in layers):
        raise _NotChecked("the model's implementation of attention returns no weights")
    return layers


def _is_of_transformers(subject: Subject) -> bool:
    return type(subject.module).__module__.startswith("transformers.")


def _compared(outputs: Tensor, expected: Tensor, said: str, subject: Subject) -> _Found:
    """Whether two paths agree, up to the rounding of their type."""
    most = float(difference(outputs, expected).max())
    eps = max(torch.finfo(outputs.dtype).eps, subject.eps)
    largest = float(expected.abs().where(expected.isfinite(), 0).max())
    if not most <= max(_EQUAL, 32 * eps) * largest:
        return (
            False,
            most,
            f"{said} the outputs differ from those of the full pass by up to {most:.2g}",
        )
    return True, most, f"{said} the outputs are those of the full pass"


_CHECKS: dict[str, Callable[[Subject, Tensor, float], _Found]] = {
    "batch": _batch,
    "cache": _cache,
    "left_padding": _left_padding,
    "packing": _packing,
    "attention_weights": _attention_weights,
}
