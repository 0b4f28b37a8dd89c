"""States of limited entanglement: matrix product states of small bond dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated(states: Tensor, bond_dimension: int) -> Tensor:
    """The states with at most that many Schmidt coefficients across each cut of the register.

    Cuts are truncated from the left to the right, as in arXiv quant-ph/0301063, and the norm is
    restored. A bond dimension of 1 leaves a product state; 2^(n/2) changes nothing.

    Args:
        states: ``[..., 2^n]``, real or complex, normalised or not; a zero state stays zero.
        bond_dimension: at least 1.

    Returns:
        ``[..., 2^n]``, of the same type.
    """
    n_qubits = states.shape[-1].bit_length() - 1
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    rest = wide.reshape(-1, 1, wide.shape[-1])
    cores: list[Tensor] = []
    for _ in range(n_qubits - 1):
        left, values, right = torch.linalg.svd(
            rest.reshape(len(rest), 2 * rest.shape[1], -1), full_matrices=False
        )
        kept = min(bond_dimension, values.shape[-1])
        cores.append(left[..., :kept])
        rest = values[..., :kept, None] * right[..., :kept, :]
    for core in reversed(cores):  # [N, 2 l, r] times [N, r, D]
        rest = core @ rest.reshape(len(rest), core.shape[-1], -1)
        rest = rest.reshape(len(rest), core.shape[1] // 2, -1)
    out = rest.reshape(wide.shape)
    norms = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (wide, out)]
    tiny = torch.finfo(norms[1].dtype).tiny
    restored: Tensor = out * (norms[0] / norms[1].clamp_min(tiny))
    return restored.to(states.dtype)
