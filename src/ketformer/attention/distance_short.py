"""Scores of distances in short sequences, in one kernel on the CPU.

The fused kernel of torch knows dot products only: ‖k‖² is one more column for it, for which
queries and keys are copied, or a bias of each pair; and it has no exponential of the distance. Here
the scores of few positions are made and used in the processor's cache. Nothing but queries, keys
and values is kept for the gradient.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum.native.calls import contiguous, operation, run_kernel, wants_gradient

#: Positions up to which this is faster than the fused kernel.
SHORT = 1024
#: Products per thread, at least.
_GRAIN = 2**20


def can_mix(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether there are few positions, and the kernel, if there is one, takes such tensors."""
    return (
        1 < queries.shape[-2] == keys.shape[-2] <= SHORT
        and queries.device.type == "cpu"
        and queries.dtype in (torch.float32, torch.float64)
        and queries.dtype == keys.dtype == values.dtype
        and not torch.compiler.is_exporting()
    )


def mix_distances(
    scale: float,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    exponential: bool,
) -> Tensor:
    """Mix the values by a softmax of -scale ‖q-k‖², or of exp(-scale ‖q-k‖²).

    Args:
        scale: a positive number.
        queries: ``[B, H, T, Dk]``.
        keys: ``[B, H, T, Dk]``.
        values: ``[B, H, T, Dv]``.
        mask: bool, broadcastable to ``[B, 1, T, T]``; None for the keys up to each query.
        exponential: which score.

    Returns:
        ``[B, H, T, Dv]``; 0 for a query that sees no key.
    """
    if mask is not None:
        length = queries.shape[-2]
        mask = mask.expand(-1, -1, length, length)
    direct: Callable[..., Tensor] = torch.ops.ketformer.distance_mix
    wanted = wants_gradient(queries, keys, values)
    call: Callable[..., Tensor] = _Differentiable.apply if wanted else direct
    return call(queries, keys, values, mask, scale, exponential).transpose(1, 2)


class _Shape(ctypes.Structure):
    """The kernel's ``struct distance_shape``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("heads", "length", "width", "mixed")),
        *((name, 3 * ctypes.c_int64) for name in ("query", "key", "value")),
        *((name, ctypes.c_int64) for name in ("seen", "bends")),
        ("scale", ctypes.c_double),
    )


@operation
def distance_mix(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float,
    exponential: bool,
) -> Tensor:  # fmt: skip
    """See :func:`mix_distances`; the result is ``[B, T, H, Dv]``."""
    arrays, shape, rows, grain = _prepared(queries, keys, values, mask, scale, exponential)
    batch, heads, length, width = values.shape
    out = values.new_empty(batch, length, heads, width)
    run_kernel("distance_mix", shape, (*arrays, out), rows, grain)
    return out


@operation
def distance_mix_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float,
    exponential: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by queries, keys and values."""
    arrays, shape, rows, grain = _prepared(queries, keys, values, mask, scale, exponential)
    found = [each.new_empty(each.shape) for each in (queries, keys, values)]
    run_kernel("distance_mix_backward", shape, (*contiguous(grad), *arrays, *found), rows, grain)
    return found[0], found[1], found[2]


def _prepared(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float, bends: bool
) -> tuple[tuple[Tensor | None, ...], _Shape, int, int]:
    """The kernel's arrays and sizes, how many heads there are in all, and those for a thread."""
    given = [x if x.stride(-1) == 1 else x.contiguous() for x in (queries, keys, values)]
    (batch, heads, length, mixed), width = values.shape, queries.shape[-1]
    stride = 0 if mask is None or len(mask) == 1 else length**2
    strides = [(3 * ctypes.c_int64)(*each.stride()[:3]) for each in given]
    shape = _Shape(heads, length, width, mixed, *strides, stride, bends, scale)
    grain = _GRAIN // (length**2 * (width + mixed)) + 1
    return (*given, *contiguous(mask)), shape, batch * heads, grain


@torch.library.register_fake("ketformer::distance_mix")  # type: ignore[untyped-decorator]
def _(queries: Tensor, keys: Tensor, values: Tensor, *_: Any) -> Tensor:
    batch, heads, length, width = values.shape
    return values.new_empty(batch, length, heads, width)


@torch.library.register_fake("ketformer::distance_mix_backward")  # type: ignore[untyped-decorator]
def _(grad: Tensor, *parts: Any) -> tuple[Tensor, ...]:
    return tuple(part.new_empty(part.shape) for part in parts[:3])


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(
        queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float,
        exponential: bool,
    ) -> Tensor:  # fmt: skip
        mixed: Tensor = torch.ops.ketformer.distance_mix(
            queries, keys, values, mask, scale, exponential
        )
        return mixed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.scale, ctx.exponential = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        found = torch.ops.ketformer.distance_mix_backward(
            *grads, *ctx.saved_tensors, ctx.scale, ctx.exponential
        )
        return *found, None, None, None
