"""Amplitude encoding as a circuit: rotations whose angles follow from the amplitudes."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ketformer.quantum.circuit import Circuit


def amplitude_preparation(n_qubits: int, prefix: str = "amp") -> Circuit:
    """A circuit that makes any real state from |0…0>: 2^n - 1 RY, 2^n - 2 CNOTs.

    Qubit k is turned by an angle that depends on the qubits before it. Such a multiplexed
    rotation is 2^k rotations with CNOTs between them, whose controls follow a Gray code
    (Möttönen et al. 2005). :func:`amplitude_angles` gives the angles.
    """
    names = (f"{prefix}{i}" for i in range(2**n_qubits - 1))
    circuit = Circuit(n_qubits).ry(0, next(names))
    for qubit in range(1, n_qubits):
        for step in range(2**qubit):
            circuit = circuit.ry(qubit, next(names))
            # The bit in which Gray codes step and step + 1 differ; the last one closes the cycle.
            bit = min(((step + 1) & -(step + 1)).bit_length() - 1, qubit - 1)
            circuit = circuit.cnot(qubit - 1 - bit, qubit)
    return circuit


def amplitude_angles(state: Tensor) -> Tensor:
    """Angles of :func:`amplitude_preparation` that make the state, up to its norm.

    Args:
        state: ``[..., 2^n]``, real. Where part of it is zero, any angle would do and 0 is
            taken; a zero state gives |0…0>.

    Returns:
        ``[..., 2^n - 1]`` in radians, differentiable except at zero amplitudes.
    """
    n_qubits = (state.shape[-1] - 1).bit_length()
    levels = []
    # From the last qubit to the first: how each pair divides its norm, then the norms themselves.
    for qubit in reversed(range(n_qubits)):
        zero, one = state.unflatten(-1, (2**qubit, 2)).unbind(-1)
        empty = (zero == 0) & (one == 0)
        zero, one = torch.where(empty, 1, zero), torch.where(empty, 0, one)
        levels.append(2 * torch.atan2(one, zero) @ _gray_transform(qubit).to(state))
        state = torch.where(empty, 0, torch.hypot(zero, one))
    return torch.cat(levels[::-1], dim=-1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _gray_transform(n_controls: int) -> Tensor:
    """``M[j, i]``: the share of multiplexed angle j in plain rotation i, (-1)^(j·gray(i)) / 2^k."""
    basis = torch.arange(2**n_controls, device="cpu")
    common = basis[:, None] & (basis ^ (basis >> 1))[None]
    parity = sum(((common >> bit) & 1 for bit in range(n_controls)), torch.zeros_like(common))
    signs: Tensor = 1.0 - 2.0 * (parity % 2).double()
    return signs / (1 << n_controls)
