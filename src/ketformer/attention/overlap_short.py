"""Overlap attention for short sequences, from angles to mixed values in one kernel on the CPU.

The states of few positions stay in the processor's cache, where scores and mixed values are made of
them; in memory they would take more time than all of classical attention. Nothing but the angles
and values is kept for the gradient: the kernel computes the rest again.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.attention.overlap_states import OverlapStates
from ketformer.quantum.circuit_states import StatesShape, halves, states_shape
from ketformer.quantum.native.calls import (
    contiguous,
    operation,
    run_backward,
    run_kernel,
    wants_gradient,
)

#: Positions up to which this is faster than states in memory and the fused kernel.
SHORT = 512


def mix_in_cache(
    states: OverlapStates,
    own: Tensor,
    shared: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scale: float,
) -> Tensor:
    """Causal attention without dropout, where the states have a native kernel.

    Args:
        states: how queries and keys are prepared.
        own: angles of the tokens, ``[B, T, 2, H, P]``.
        shared: angles of U_Q and U_K, ``[2, H, R]``.
        values: ``[B, T, H, Dv]``.
        mask: bool, broadcastable to ``[B, 1, T, T]``; None for the keys up to each query.
        scale: multiplies an overlap.

    Returns:
        ``[B, T, H, Dv]``.
    """
    native = states.native
    assert native is not None  # checked by the caller
    parts = halves(own.flatten(2, 3), states.between(shared))
    direct: Callable[..., Tensor] = torch.ops.ketformer.overlap_mix
    call: Callable[..., Tensor] = (
        _Differentiable.apply if wants_gradient(*parts, values) else direct
    )
    if mask is not None:
        mask = mask.expand(-1, -1, own.shape[1], own.shape[1])
    sizes = native.circuit.n_qubits, native.growing, native.early
    mixed = call(*parts, values.to(own.dtype), mask, *native.tables, *sizes, scale)
    return mixed.to(values.dtype)


class _Shape(ctypes.Structure):
    """The kernel's ``struct overlap_shape``."""

    _fields_ = (
        ("states", StatesShape),
        *((name, ctypes.c_int64) for name in ("length", "width", "seen")),
        ("scale", ctypes.c_double),
    )


@operation
def overlap_mix(
    own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, values: Tensor, mask: Tensor | None,
    gates: Tensor, sources: Tensor, n_qubits: int, growing: int, early: int, scale: float,
) -> Tensor:  # fmt: skip
    """See :func:`mix_in_cache`; cosines and sines are those of half the angles."""
    arrays = contiguous(own_cos, own_sin, cos, sin, values, mask)
    states = states_shape(arrays[0].flatten(0, 1), cos, gates, sources, n_qubits, growing, early)
    shape = _shape(states, values, mask, scale)
    out = torch.empty_like(arrays[4])
    batch, length, heads, _ = values.shape
    run_kernel("overlap_mix", shape, (*arrays, out), batch * heads, _grain(length))
    return out


@operation
def overlap_mix_backward(
    grad: Tensor, own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, values: Tensor,
    mask: Tensor | None, gates: Tensor, sources: Tensor, n_qubits: int, growing: int, early: int,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by the four tensors of cosines and sines and by the values."""
    arrays = contiguous(grad, own_cos, own_sin, cos, sin, values, mask)
    states = states_shape(arrays[1].flatten(0, 1), cos, gates, sources, n_qubits, growing, early)
    shape = _shape(states, values, mask, scale)
    written = [torch.empty_like(arrays[i]) for i in (1, 2, 5)]
    batch, length, heads, _ = values.shape
    by_cos, by_sin = run_backward(
        "overlap_mix_backward", shape, (*arrays, *written), cos, batch * heads, _grain(length)
    )
    return written[0], written[1], by_cos, by_sin, written[2]


def _shape(states: StatesShape, values: Tensor, mask: Tensor | None, scale: float) -> _Shape:
    _, length, _, width = values.shape
    return _Shape(states, length, width, 0 if mask is None or len(mask) == 1 else length**2, scale)


def _grain(length: int) -> int:
    """Heads of a sequence per thread, at least."""
    return 256 // length + 1


@torch.library.register_fake("ketformer::overlap_mix")  # type: ignore[untyped-decorator]
def _(
    own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, values: Tensor, *_: Any
) -> Tensor:
    return values.new_empty(values.shape)


@torch.library.register_fake("ketformer::overlap_mix_backward")  # type: ignore[untyped-decorator]
def _(grad: Tensor, *parts: Any) -> tuple[Tensor, ...]:
    return tuple(part.new_empty(part.shape) for part in parts[:5])


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(
        own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, values: Tensor,
        mask: Tensor | None, gates: Tensor, sources: Tensor, n_qubits: int, growing: int,
        early: int, scale: float,
    ) -> Tensor:  # fmt: skip
        mixed: Tensor = torch.ops.ketformer.overlap_mix(
            own_cos, own_sin, cos, sin, values, mask, gates, sources, n_qubits, growing, early,
            scale,
        )  # fmt: skip
        return mixed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits, ctx.growing, ctx.early, ctx.scale = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        found = torch.ops.ketformer.overlap_mix_backward(
            *grads, *ctx.saved_tensors, ctx.n_qubits, ctx.growing, ctx.early, ctx.scale
        )
        return *found, *[None] * 7
