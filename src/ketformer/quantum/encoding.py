"""Encoding of features in amplitudes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def qubits_for(n_features: int) -> int:
    """Number of qubits for d = ``n_features`` amplitudes: ceil(log2 d), and at least 1."""
    if n_features < 1:
        raise ValueError(f"cannot encode {n_features} features")
    return max((n_features - 1).bit_length(), 1)


def pad_amplitudes(features: Tensor, n_qubits: int) -> Tensor:
    """Zero-pad the last dimension to 2^n_qubits without normalising.

    Raises:
        ValueError: there are more features than amplitudes.
    """
    missing = 2**n_qubits - features.shape[-1]
    if missing < 0:
        raise ValueError(f"{features.shape[-1]} features do not fit into {n_qubits} qubits")
    return F.pad(features, (0, missing)) if missing else features


def amplitude_encode(features: Tensor, n_qubits: int | None = None) -> Tensor:
    """Unit vectors whose amplitudes are the features, zero-padded to a power of two.

    A zero vector has no direction: it stays zero (every expectation is then 0)
    and its gradient is finite.

    Args:
        features: ``[..., d]``, real.
        n_qubits: register size; ceil(log2 d) by default.

    Returns:
        ``[..., 2^n_qubits]``.
    """
    state = pad_amplitudes(features, n_qubits or qubits_for(features.shape[-1]))
    # Dividing by the largest entry first keeps the squares in range in float16
    # and for huge or tiny vectors; as a scale it cancels, so it needs no gradient.
    largest = state.detach().abs().amax(dim=-1, keepdim=True)
    scaled = state / torch.where(largest > 0, largest, torch.ones_like(largest))
    norm_squared = scaled.square().sum(dim=-1, keepdim=True)
    return scaled * torch.where(norm_squared > 0, norm_squared, 1).rsqrt()
