"""Amplitude encoding as a circuit whose rotation angles are computed from the amplitudes."""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.quantum.circuit import Angle, Circuit, Gate


def amplitude_preparation(n_qubits: int, prefix: str = "amp") -> Circuit:
    """A circuit that prepares any real state from |0…0>: 2^n - 1 RY, 2^n - 2 CNOTs.

    Qubit k is rotated by an angle that depends on the qubits before it. Such a multiplexed
    rotation consists of 2^k rotations alternating with CNOTs whose controls follow a Gray
    code (Möttönen et al. 2005). :func:`amplitude_angles` computes the angles.

    Raises:
        ValueError: no qubits.
    """
    if n_qubits < 1:
        raise ValueError(f"a register needs at least one qubit, got {n_qubits}")
    angles = (Angle(f"{prefix}{i}") for i in range(2**n_qubits - 1))
    gates = [Gate("RY", 0, angle=next(angles))]
    for qubit in range(1, n_qubits):
        for step in range(2**qubit):
            # The bit in which Gray codes step and step + 1 differ; the last one closes the cycle.
            bit = min(((step + 1) & -(step + 1)).bit_length() - 1, qubit - 1)
            gates.append(Gate("RY", qubit, angle=next(angles)))
            gates.append(Gate("X", qubit, (qubit - 1 - bit,)))
    return Circuit(n_qubits, tuple(gates))


def amplitude_angles(state: Tensor) -> Tensor:
    """Angles with which :func:`amplitude_preparation` prepares the state, up to its norm.

    Args:
        state: ``[..., 2^n]``, real. Where part of it is zero, any angle would do and 0 is
            used; a zero state gives |0…0>.

    Returns:
        ``[..., 2^n - 1]`` in radians, differentiable except at zero amplitudes.

    Raises:
        ValueError: the number of amplitudes is not a power of two, or is 1.
    """
    n_qubits = (state.shape[-1] - 1).bit_length()
    if state.shape[-1] != 2**n_qubits or not n_qubits:
        raise ValueError(f"{state.shape[-1]} amplitudes are not those of a register of qubits")
    # As in amplitude_encode, the scale cancels but keeps squares in the gradient in range.
    largest = state.detach().abs().amax(dim=-1, keepdim=True)
    state = state / torch.where(largest > 0, largest, 1)
    levels = []
    # From the last qubit to the first: the angle that splits the norm of each pair, then the norms.
    for qubit in reversed(range(n_qubits)):
        zero, one = state.unflatten(-1, (2**qubit, 2)).unbind(-1)
        empty = (zero == 0) & (one == 0)
        zero, one = torch.where(empty, 1, zero), torch.where(empty, 0, one)
        levels.append(_to_plain_rotations(2 * torch.atan2(one, zero)))
        state = torch.where(empty, 0, torch.hypot(zero, one))
    return torch.cat(levels[::-1], dim=-1)


def _to_plain_rotations(multiplexed: Tensor) -> Tensor:
    """Angles of the plain rotations that make up a multiplexed one.

    Rotation i takes the share (-1)^(j·gray(i)) / 2^k of angle j: a Walsh-Hadamard transform
    with rows in Gray-code order.
    """
    size = multiplexed.shape[-1]
    out = multiplexed
    for bit in range(size.bit_length() - 1):
        zero, one = out.unflatten(-1, (-1, 2, 1 << bit)).unbind(-2)
        out = torch.stack([zero + one, zero - one], dim=-2).flatten(-3)
    order = torch.arange(size, device=out.device)
    return out[..., order ^ (order >> 1)] / size
