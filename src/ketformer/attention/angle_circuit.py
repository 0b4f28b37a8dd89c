"""<Z> of every qubit after an angle encoding and a circuit that all tokens share.

Where a CNOT ring comes last, or none at all, the numbers are products of cosines; nothing is
simulated then.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ketformer.attention.checks import check_layers, check_qubits
from ketformer.attention.shared_unitary import MAX_DENSE_QUBITS, KeptUnitary
from ketformer.quantum import (
    CircuitOutcomes,
    Entanglement,
    Experiment,
    PauliStrings,
    apply,
    product_state,
    rx_encoding,
    rx_ring_ansatz,
    strongly_entangling_ansatz,
)

Ansatz = Literal["rx", "strongly_entangling"]


class AngleCircuit:
    """RX(x_i) on every qubit, then an ansatz with P angles; outcomes are <Z_i> of its n qubits.

    Args:
        n_qubits: qubits n, as many as numbers go in and come out.
        layers: repetitions of the rotations and the ring.
        ansatz: ``rx``: layers of RX on each wire and a CNOT ring; or ``strongly_entangling``:
            layers of three rotations on each wire and rings of growing reach.
        entanglement: ``ring``, or ``none``, the ablation without CNOTs.

    Raises:
        KetformerError: an invalid size, or more qubits than can be simulated where simulation is
            needed.
    """

    def __init__(
        self, n_qubits: int, layers: int, ansatz: Ansatz, entanglement: Entanglement
    ) -> None:
        self.n_qubits = n_qubits
        self.layers = check_layers(layers, n_qubits)
        #: Whether outcomes are products of single-qubit expectations.
        self.is_closed = layers == 1 or entanglement == "none" or n_qubits == 1
        if not self.is_closed:
            check_qubits(n_qubits)
        make = rx_ring_ansatz if ansatz == "rx" else strongly_entangling_ansatz
        self.ansatz = make(n_qubits, layers, entanglement)
        self.is_rx = ansatz == "rx"
        self.has_ring = entanglement == "ring" and n_qubits > 1
        self.unitary = KeptUnitary(self.ansatz)
        self.whole = rx_encoding(n_qubits).then(self.ansatz)
        self.native: CircuitOutcomes | None = None
        if not self.is_closed and CircuitOutcomes.can_run(self.whole):
            self.native = CircuitOutcomes(self.whole, n_qubits, n_qubits)

    @property
    def n_angles(self) -> int:
        """Number of angles P of the ansatz."""
        return len(self.ansatz.parameters)

    def __call__(self, encoded: Tensor, angles: Tensor) -> Tensor:
        """The outcomes ``[..., N, n]``, at least float32.

        Args:
            encoded: ``[..., N, n]`` in radians.
            angles: ``[..., P]``, shared by the N rows.
        """
        # Angles lose too many digits in half precision.
        wide = torch.promote_types(encoded.dtype, torch.float32)
        encoded, angles = encoded.to(wide), angles.to(wide)
        if not self.is_closed:
            # An exported program should need torch alone.
            if self.native is None or torch.compiler.is_exporting() or encoded.device.type != "cpu":
                return self._simulated(encoded, angles)
            groups = encoded.flatten(0, -3) if encoded.ndim > 2 else encoded.unsqueeze(0)
            found = self.native(groups.transpose(0, 1), angles.reshape(len(groups), -1))
            return found.transpose(0, 1).reshape(encoded.shape)
        by_gate = angles.unsqueeze(-2).unflatten(-1, (self.layers, self.n_qubits, -1))
        single = self._of_one_qubit(encoded, by_gate)
        return self._behind_the_ring(single) if self.has_ring else single

    def _of_one_qubit(self, encoded: Tensor, angles: Tensor) -> Tensor:
        """<Z> of each qubit before any CNOT; ``angles [..., 1, L, n, rotations]``."""
        if self.is_rx:
            # Not cos(x + w): a sum of a full turn would lose digits of x.
            w = angles.sum((-3, -1))
            return encoded.cos() * w.cos() - encoded.sin() * w.sin()
        # The Bloch vector (0, -sin x, cos x), turned about z, y and z.
        if self.layers == 1:  # neither its x and y nor the last turn count in the end
            first, second, _ = angles.squeeze(-3).unbind(-1)
            return encoded.cos() * second.cos() - encoded.sin() * (first.sin() * second.sin())
        x, y, z = torch.zeros_like(encoded), -encoded.sin(), encoded.cos()
        for layer in angles.unbind(-3):
            for axis, angle in enumerate(layer.unbind(-1)):
                cos, sin = angle.cos(), angle.sin()
                if axis == 1:
                    x, z = x * cos + z * sin, z * cos - x * sin
                else:
                    x, y = x * cos - y * sin, x * sin + y * cos
        return z

    def _behind_the_ring(self, single: Tensor) -> Tensor:
        """Z_k becomes Z_0 … Z_k, and Z_0 becomes Z_1 … Z_{n-1} through the last CNOT."""
        first, products = single[..., :1], prefix_products(single[..., 1:])
        one_cnot = self.n_qubits == 2 and self.is_rx
        return torch.cat([first if one_cnot else products[..., -1:], first * products], dim=-1)

    def _simulated(self, encoded: Tensor, angles: Tensor) -> Tensor:
        """The readable reference for the native kernel; also used on a GPU."""
        device = encoded.device
        places = torch.arange(self.n_qubits - 1, -1, -1, device=device)
        bits = (torch.arange(2**self.n_qubits, device=device)[:, None] >> places) & 1
        # RX(x)|0> is RY(x)|0> with -i for each 1.
        turns = torch.tensor([1, -1j, -1, 1j], device=device)[bits.sum(-1) % 4]
        state = product_state(encoded) * turns.to(torch.promote_types(encoded.dtype, turns.dtype))
        if self.n_qubits <= MAX_DENSE_QUBITS:
            state = state @ self.unitary(angles).mT
        else:
            state = apply(self.ansatz, state, angles.unsqueeze(-2))
        shares = state.real.square() + state.imag.square()
        return shares @ (1 - 2 * bits).to(shares.dtype)

    def experiment(self, encoded: Tensor, angles: Tensor) -> Experiment:
        """What hardware runs for rows ``[..., n]`` and angles ``[P]``: all <Z_i> at once."""
        n = self.n_qubits
        columns = torch.cat([encoded, angles.expand(*encoded.shape[:-1], -1)], dim=-1)
        strings = PauliStrings(tuple("I" * i + "Z" + "I" * (n - 1 - i) for i in range(n)))
        return Experiment(self.whole, columns, strings)


def prefix_products(factors: Tensor) -> Tensor:
    """Products of the first 1, 2, … factors along the last dimension, in log2 n steps.

    The gradient of ``cumprod`` looks for zeros, which a compiled graph cannot.
    """
    reach = 1
    while reach < factors.shape[-1]:
        later = factors[..., reach:] * factors[..., :-reach]
        factors = torch.cat([factors[..., :reach], later], dim=-1)
        reach *= 2
    return factors


def full_turn(angles: Tensor) -> None:
    """Draw angles uniformly over a full turn."""
    torch.nn.init.uniform_(angles, 0, 2 * math.pi)
