"""Sets of states on fewer qubits: the subspace that holds most of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def compressed(sets: Sequence[Tensor], n_qubits: int) -> list[Tensor]:
    """All states projected on the 2^n_qubits dimensions that hold most of them.

    An ideal quantum autoencoder (arXiv 1612.02806) brings the states of that subspace, and no
    others, onto so many qubits without loss. The subspace is one for all sets: overlaps between
    them keep their meaning. Norms are restored.

    Args:
        sets: each ``[..., 2^n]``, real or complex; a zero state stays zero.
        n_qubits: at most n, which changes nothing.

    Returns:
        As many tensors, of the same shapes and types.
    """
    # In float64: product states leave most eigenvalues at 0, where float32 does not converge.
    wide = [states.to(torch.promote_types(states.dtype, torch.float64)) for states in sets]
    every = torch.cat([states.reshape(-1, states.shape[-1]) for states in wide])
    _, vectors = torch.linalg.eigh(every.mT @ every.conj())  # the largest eigenvalues last
    kept = vectors[:, -(2**n_qubits) :]
    return [_onto(states, kept).to(given.dtype) for states, given in zip(wide, sets, strict=True)]


def _onto(states: Tensor, kept: Tensor) -> Tensor:
    out: Tensor = states @ kept.conj() @ kept.mT
    norms = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (states, out)]
    restored: Tensor = out * (norms[0] / norms[1].clamp_min(torch.finfo(norms[1].dtype).tiny))
    return restored
