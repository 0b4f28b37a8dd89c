"""Product states of RY rotations, with which most circuits start and which take the most time."""

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
    # States are built as columns, so that memory is accessed in long runs; the result is a view.
    single = angles.ndim == 1
    columns = (angles.unsqueeze(0) if single else angles).mT.contiguous()
    out: Tensor = _ProductColumns.apply(columns)  # type: ignore[no-untyped-call]
    return out.squeeze(-1) if single else out.mT


class _ProductColumns(torch.autograd.Function):
    """Kronecker products ``[..., 2^n, N]`` of angles ``[..., n, N]``.

    Autograd would keep every partial product. This backward pass needs only the product itself:
    d|psi>/d angle_i is |psi> / 2 with the two halves of qubit i exchanged and one negated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(angles: Tensor) -> Tensor:
        half = angles / 2
        qubits = torch.stack([half.cos(), half.sin()], dim=-2)  # [..., n, 2, N]
        state = qubits[..., 0, :, :]
        for i in range(1, angles.shape[-2]):
            state = (state.unsqueeze(-2) * qubits[..., i, None, :, :]).flatten(-3, -2)
        return state

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.n = inputs[0].shape[-2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (state,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        rows = []
        for i in range(ctx.n):
            split = (2**i, 2, 2 ** (ctx.n - 1 - i))
            zero, one = state.unflatten(-2, split).unbind(-3)
            grad_zero, grad_one = grad.unflatten(-2, split).unbind(-3)
            rows.append((grad_one * zero - grad_zero * one).flatten(-3, -2).sum(-2))
        return torch.stack(rows, dim=-2) / 2
