"""Orthogonal matrices as products of Givens rotations, and circuits of as many qubits for them.

A vector x of unit length is a unary state: the sum of x_i e_i, where in e_i qubit i alone is 1. A
gate RBS(t) on two qubits rotates the plane of two entries, so a circuit of these gates is the
product of their rotations, later ones on the left, and no state of 2^d amplitudes is needed
(arXiv 2209.08167).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ketformer.attention.shared_unitary import Kept
from ketformer.quantum import Circuit, beam_splitter
from ketformer.quantum.circuit import Angle

Layout = Literal["butterfly", "pyramid"]
#: Entries a < b that a rotation acts on: it takes x_a to cos t x_a - sin t x_b.
Pairs = list[tuple[int, int]]
#: See :func:`_layers`.
Layers = tuple[Tensor, Tensor, Tensor]


def pyramid(width: int) -> Pairs:
    """All d (d - 1) / 2 rotations of neighbours that it takes to reach every rotation of space."""
    return [(j, j + 1) for i in range(width - 1) for j in range(i, -1, -1)]


def butterfly(width: int) -> Pairs:
    """At strides d/2, d/4, …, 1 every pair (k, k + stride): (d/2) log2 d rotations.

    Where d is no power of two, the next one sets the strides and pairs beyond d are left out.
    """
    strides = [1 << bit for bit in reversed(range((width - 1).bit_length()))]
    return [(k, k + s) for s in strides for k in range(width - s) if not k & s]


class Rotations(Kept):
    """A sequence of Givens rotations with P angles, as matrix, map and circuit.

    Args:
        width: number of entries d.
        layout: ``butterfly`` or ``pyramid``.
    """

    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.width = width
        self.pairs = butterfly(width) if layout == "butterfly" else pyramid(width)
        # Rotations of disjoint pairs are done together: a pyramid has 2d - 3 such layers.
        self._tables = {torch.device("cpu"): _layers(self.pairs, width)}

    @property
    def n_angles(self) -> int:
        """Number of angles P."""
        return len(self.pairs)

    def __call__(self, vectors: Tensor, angles: Tensor) -> Tensor:
        """The vectors ``[..., N, d]`` times the matrix of angles ``[..., P]``, at least float32.

        Many vectors are multiplied by the whole matrix; few pass through the rotations.
        """
        wide = torch.promote_types(vectors.dtype, torch.float32)
        vectors, angles = vectors.to(wide), angles.to(wide)
        if vectors.shape[-2] < self.width:
            return self._rotated(vectors, angles)
        return vectors @ self.matrix(angles).mT

    def matrix(self, angles: Tensor) -> Tensor:
        """The orthogonal matrix ``[..., d, d]`` of angles ``[..., P]``."""
        return self.kept(angles)

    def computed(self, angles: Tensor) -> Tensor:
        """The matrix, from the rotations."""
        basis = torch.eye(self.width, dtype=angles.dtype, device=angles.device)
        return self._rotated(basis, angles).mT

    def _rotated(self, vectors: Tensor, angles: Tensor) -> Tensor:
        partners, which, sign = self._layers_on(angles.device)
        padded = F.pad(angles, (0, 1))  # 0, the angle of what a layer leaves alone
        cos = padded.cos()[..., which].unsqueeze(-2)  # [..., layers, 1, d]
        sin = padded.sin()[..., which].unsqueeze(-2) * sign.to(angles.dtype)
        for layer, partner in enumerate(partners):
            other = vectors.index_select(-1, partner)
            vectors = vectors * cos[..., layer, :, :] + other * sin[..., layer, :, :]
        return vectors

    def _layers_on(self, device: torch.device) -> Layers:
        """The layers, which are copied to a device once."""
        if device not in self._tables:
            on_cpu = self._tables[torch.device("cpu")]
            with torch.inference_mode(False):  # training must be able to use them
                partner, angle, sign = (table.to(device) for table in on_cpu)
            self._tables[device] = partner, angle, sign
        return self._tables[device]

    def circuit(self, prefix: str) -> Circuit:
        """The gates, with angles ``{prefix}0``, ``{prefix}1`` and so on."""
        gates = (
            beam_splitter(self.width, *pair, Angle(f"{prefix}{i}")).gates
            for i, pair in enumerate(self.pairs)
        )
        return Circuit(self.width, tuple(gate for each in gates for gate in each))


def _layers(pairs: Pairs, width: int) -> Layers:
    """For each layer and entry its partner and the number of its angle, ``[layers, d]``; signs.

    An entry that a layer leaves alone is its own partner and has angle number P. Signs have shape
    ``[layers, 1, d]``.
    """
    free = [0] * width  # the first layer in which each entry is not yet used
    layers: list[list[tuple[int, int, int]]] = []
    for number, (first, second) in enumerate(pairs):
        layer = max(free[first], free[second])
        free[first] = free[second] = layer + 1
        if layer == len(layers):
            layers.append([])
        layers[layer].append((first, second, number))
    partner = torch.arange(width, device="cpu").repeat(len(layers), 1)
    angle = torch.full((len(layers), width), len(pairs), device="cpu")
    sign = torch.zeros(len(layers), 1, width, device="cpu")
    for row, members in enumerate(layers):
        for first, second, number in members:
            partner[row, first], partner[row, second] = second, first
            angle[row, first] = angle[row, second] = number
            sign[row, 0, first], sign[row, 0, second] = -1, 1
    return partner, angle, sign


def loader(width: int, prefix: str) -> Circuit:
    """Takes e_0 to a unit vector of :func:`loader_angles` ``{prefix}0``, …: a diagonal of RBS."""
    circuit = Circuit(width)
    for i in range(width - 1):
        circuit = circuit.then(beam_splitter(width, i, i + 1, Angle(f"{prefix}{i}")))
    return circuit


def loader_angles(vectors: Tensor) -> Tensor:
    """Angles ``[..., d - 1]`` with which :func:`loader` loads vectors ``[..., d]`` over their norm.

    Angle i is atan2(norm of all later entries, entry i); the last keeps the sign of the last
    entry: atan2(x_{d-1}, x_{d-2}).
    """
    least = torch.finfo(vectors.dtype).tiny  # the root has no slope at 0
    tails = vectors.square().flip(-1).cumsum(-1).flip(-1)[..., 1:-1].clamp_min(least).sqrt()
    rest = torch.cat([tails, vectors[..., -1:]], dim=-1)
    return torch.atan2(rest, vectors[..., :-1])


def compound(vectors: Tensor, matrix: Tensor) -> Tensor:
    """What the second-order compound layer of arXiv 2209.08167 makes of ``X [n, d]``.

    X over its Frobenius norm is loaded as the sum of X_ij e_i e_{n+j} on n + d qubits, and W acts
    on all of them. The result is Y_ij, the amplitude of e_i e_{n+j}: Y = A X Dᵀ - B Xᵀ Cᵀ with
    W = [[A, B], [C, D]]. It is linear in X up to the norm and mixes positions by an orthogonal map,
    which could be causal only if it mixed nothing, so it is not a mechanism here.

    Args:
        vectors: X, ``[..., n, d]``.
        matrix: W, ``[n + d, n + d]``, orthogonal.
    """
    n = vectors.shape[-2]
    loaded = vectors / vectors.square().sum((-2, -1), keepdim=True).sqrt()
    above, below = matrix.tensor_split([n], dim=-2)
    a, b = above.tensor_split([n], dim=-1)
    c, d = below.tensor_split([n], dim=-1)
    return a @ loaded @ d.mT - b @ loaded.mT @ c.mT
