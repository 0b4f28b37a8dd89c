"""Overlap attention for long sequences: a few heads at a time, whose states nobody keeps.

A state is wider than a head: of 6 qubits it has 64 amplitudes, where a head may have 16 values,
and the fused CPU kernel wants all at one width. Autograd would keep queries, keys, values and what
the kernel returns, all that wide, of every head in every block. This keeps the angles, from which
the native kernel computes the states again in a small part of the time that attention takes, and
values and mixed values at their own width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ketformer.attention.mixing import widen
from ketformer.attention.overlap_states import OverlapStates

#: Positions from which computing the states twice does not count beside the scores of all pairs.
LONG = 2048
#: States of queries, and as many of keys, in memory at once, unless a single head has more.
_STATES = 4096


def mix_heads_apart(
    states: OverlapStates, own: Tensor, shared: Tensor, values: Tensor, scale: float
) -> Tensor:
    """Causal attention without padding or dropout, where the states have a native kernel.

    Args:
        states: how queries and keys are prepared.
        own: angles of the tokens, ``[B, T, 2, H, P]``.
        shared: angles of U_Q and U_K, ``[2, H, R]``.
        values: ``[B, H, T, Dv]``.
        scale: multiplies an overlap.

    Returns:
        ``[B, H, T, Dv]``.
    """
    mixed: Tensor
    mixed, _ = _HeadsApart.apply(own, states.between(shared), values, states, scale)  # type: ignore[no-untyped-call]
    return mixed


class _HeadsApart(torch.autograd.Function):
    """The mixed values, and the logarithms of the sums that divided their weights."""

    @staticmethod
    def forward(
        own: Tensor, turn: Tensor, values: Tensor, states: OverlapStates, scale: float
    ) -> tuple[Tensor, Tensor]:
        some = [_mixed(states, scale, *group) for group in _groups(own, turn, values)]
        mixed, sums = zip(*some, strict=True)
        # In the order in which the output layer reads it, and keeps it for its own gradient.
        return torch.cat(mixed, dim=2).transpose(1, 2), torch.cat(sums, dim=1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.states, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing recomputes them at every access
        groups = _groups(*saved, grad)
        own, turn, values = zip(
            *(_gradients(ctx.states, ctx.scale, *group) for group in groups), strict=True
        )
        return torch.cat(own, dim=3), torch.cat(turn), torch.cat(values, dim=1), None, None


def _groups(own: Tensor, turn: Tensor, *by_head: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The parts of a few heads each; the last tensors are ``[B, H, T, …]``."""
    batch, length = own.shape[:2]
    heads = max(1, _STATES // (batch * length))
    others = (each.split(heads, dim=1) for each in by_head)
    return zip(own.split(heads, dim=3), turn.split(heads), *others, strict=True)


def _mixed(
    states: OverlapStates, scale: float, own: Tensor, turn: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Mixed values ``[B, T, H, Dv]`` and their sums ``[B, H, T]``."""
    _, query, key = _states(states, own, turn, values.dtype)
    out, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, widen(values, query.shape[-1]), 0.0, True, scale=scale
    )
    return out[..., : values.shape[-1]].transpose(1, 2).contiguous(), sums


def _gradients(
    states: OverlapStates,
    scale: float,
    own: Tensor,
    turn: Tensor,
    values: Tensor,
    mixed: Tensor,
    sums: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by both kinds of angles and by the values."""
    found, query, key = _states(states, own, turn, values.dtype)
    wide = [widen(each, query.shape[-1]) for each in (grad, values, mixed)]
    by_query, by_key, by_value = (
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            wide[0], query, key, *wide[1:], sums, 0.0, True, scale=scale
        )
    )
    assert states.native is not None  # as in mix_heads_apart
    by_states = torch.cat([by_query, by_key], dim=1).transpose(1, 2).flatten(0, 1).to(own.dtype)
    by_own, by_turn = states.native.gradients(_flat(own), turn, found, by_states)
    by_value = by_value[..., : values.shape[-1]].contiguous()
    return by_own.view_as(own), by_turn, by_value


def _states(
    states: OverlapStates, own: Tensor, turn: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The states as the kernel gives them, and queries and keys ``[B, H, T, 2^n]`` of that type."""
    assert states.native is not None  # as in mix_heads_apart
    found = states.native(_flat(own), turn)
    by_head = found.unflatten(0, own.shape[:2]).transpose(1, 2).to(dtype)
    query, key = by_head.chunk(2, dim=1)
    return found, query, key


def _flat(own: Tensor) -> Tensor:
    """The angles of each token, first those of queries: ``[B T, 2 H, P]``."""
    return own.flatten(2, 3).flatten(0, 1)
