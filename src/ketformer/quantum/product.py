"""Product states of RY rotations: what most circuits here begin with, and most time goes into."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def product_state(angles: Tensor) -> Tensor:
    """RY(angles[0])|0> ⊗ RY(angles[1])|0> ⊗ …, exact and differentiable.

    Args:
        angles: ``[..., n]`` in radians.

    Returns:
        ``[..., 2^n]``, real.
    """
    out: Tensor = _ProductState.apply(angles)  # type: ignore[no-untyped-call]
    return out


class _ProductState(torch.autograd.Function):
    """A Kronecker product whose backward pass needs nothing but the product itself.

    Where autograd would keep every partial product, d|psi>/d angle_i is |psi> with the
    two halves of qubit i exchanged, one negated, and halved.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(angles: Tensor) -> Tensor:
        half = angles / 2
        qubits = torch.stack([half.cos(), half.sin()], dim=-1)  # [..., n, 2]
        state = qubits[..., 0, :]
        for i in range(1, angles.shape[-1]):
            state = (state.unsqueeze(-1) * qubits[..., i, None, :]).flatten(-2)
        return state

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.n = inputs[0].shape[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (state,) = ctx.saved_tensors
        (grad,) = grads
        columns = []
        for i in range(ctx.n):
            split = (2**i, 2, 2 ** (ctx.n - 1 - i))
            zero, one = state.unflatten(-1, split).unbind(-2)
            grad_zero, grad_one = grad.unflatten(-1, split).unbind(-2)
            columns.append((grad_one * zero - grad_zero * one).flatten(-2).sum(-1))
        return torch.stack(columns, dim=-1) / 2
