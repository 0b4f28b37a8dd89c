"""States whose gradient is estimated by simultaneous perturbation (SPSA)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.simulate import run


def run_spsa(circuit: Circuit, angles: Tensor, epsilon: float = 0.01) -> Tensor:
    """Like :func:`~ketformer.quantum.run`, with an SPSA estimate in the backward pass.

    All angles of a state move by ±epsilon at once, at random. The measured change (of an
    overlap with another state) is along that direction only, and every angle is credited
    with it: unbiased up to epsilon², and noisy. It costs two circuits, whatever the number
    of angles (Spall 1992; used in arXiv 2502.19214).

    Args:
        circuit: ``P`` named parameters.
        angles: ``[..., P]`` in radians.
        epsilon: size of the perturbation, in radians.

    Returns:
        ``[..., 2^n]``.
    """
    out: Tensor = _Estimated.apply(angles, circuit, epsilon)  # type: ignore[no-untyped-call]
    return out


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, circuit: Circuit, epsilon: float) -> Tensor:
        ctx.save_for_backward(angles)
        ctx.circuit, ctx.epsilon = circuit, epsilon
        return run(circuit, angles)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (angles,) = ctx.saved_tensors
        signs = torch.randint_like(angles, 2) * 2 - 1
        ahead, behind = (run(ctx.circuit, angles + side * ctx.epsilon * signs) for side in (1, -1))
        slope = (grads[0].conj() * (ahead - behind)).sum(-1, keepdim=True).real / (2 * ctx.epsilon)
        return slope * signs, None, None
