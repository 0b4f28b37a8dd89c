"""Features of states, whose dot products are kernels: of products, and of any pure states."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def product_features(angles: Tensor, power: int = 1) -> Tensor:
    """Features whose dot products are prod_m ((1 + cos(a_m - b_m)) / 2)^R.

    With binomial coefficients C, ((1 + cos x) / 2)^R = 4^-R (C(2R, R) + 2 sum_k C(2R, R + k)
    cos kx), so each angle has a constant and R cosines and sines.

    Args:
        angles: ``[..., T, n]`` in radians.
        power: R.

    Returns:
        ``[..., T, (2R + 1)^n]``.
    """
    weights = [math.comb(2 * power, power + k) / 4**power for k in range(power + 1)]
    # Computed as columns, so that memory is accessed in long runs; the result is a view.
    columns = angles.mT.contiguous().unsqueeze(-2)  # [..., n, 1, T]
    scales = angles.new_tensor([math.sqrt(2 * weight) for weight in weights[1:]]).unsqueeze(-1)
    waves = columns * torch.arange(1, power + 1, device=angles.device).unsqueeze(-1)
    constant = torch.full_like(columns, math.sqrt(weights[0]))
    single = torch.cat([constant, waves.cos() * scales, waves.sin() * scales], dim=-2)
    features = single[..., 0, :, :]
    for i in range(1, angles.shape[-1]):
        features = (features.unsqueeze(-2) * single[..., i, None, :, :]).flatten(-3, -2)
    return features.mT


def signed_sums(columns: Tensor) -> Tensor:
    """The sums ±x_0 ± x_1 … of ``[..., n, T]``, + first and the sign of x_0 slowest."""
    sums = torch.zeros_like(columns[..., :1, :])
    for each in columns.unsqueeze(-2).unbind(-3):
        sums = (sums.unsqueeze(-2) + torch.stack([each, -each], dim=-2)).flatten(-3, -2)
    return sums


def turned_columns(columns: Tensor, angles: Tensor) -> Tensor:
    """Real states ``[..., 2^n, T]`` after RY on each qubit by angles ``[..., n, T]``."""
    cosines, sines = (angles / 2).cos(), (angles / 2).sin()
    for qubit in range(angles.shape[-2]):
        zero, one = columns.unflatten(-2, (2**qubit, 2, -1)).unbind(-3)
        cos, sin = (x[..., qubit, None, None, :] for x in (cosines, sines))
        turned = [cos * zero - sin * one, sin * zero + cos * one]
        columns = torch.stack(turned, dim=-3).flatten(-4, -2)
    return columns


def density_features(real: Tensor, imag: Tensor) -> Tensor:
    """The entries of Re ρ + Im ρ for pure states ρ, whose dot products are the fidelities.

    Re ρ is symmetric and Im ρ antisymmetric, so the dot product of their sums is
    tr(Re ρ Re σ) - tr(Im ρ Im σ) = tr ρσ.

    Args:
        real: ``[..., T, 2^n]``, the real parts of the amplitudes.
        imag: the imaginary parts.

    Returns:
        ``[..., T, 4^n]``.
    """
    # Columns again. aaᵀ + bbᵀ + baᵀ - abᵀ for the state a + ib.
    a, b = real.mT.contiguous(), imag.mT.contiguous()
    one = (a + b).unsqueeze(-2) * a.unsqueeze(-3)
    return (one + (b - a).unsqueeze(-2) * b.unsqueeze(-3)).flatten(-3, -2).mT
