"""Unitaries that all tokens share, cached until the parameters change."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from ketformer.quantum import Circuit, unitary

#: On more qubits, the shared matrix takes more memory than the states that it acts on.
MAX_DENSE_QUBITS = 10


class Kept:
    """What a subclass computes from angles, computed again only when they have changed.

    When gradients are needed it is built on every call. Otherwise the angles are compared by
    value with earlier ones: there are few of them, and a comparison notices a change
    however it was made.
    """

    def __init__(self) -> None:
        # Two, because queries and keys of a mechanism take turns.
        self._kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=2)

    def kept(self, angles: Tensor) -> Tensor:
        """What :meth:`computed` says, perhaps from an earlier call."""
        followed = torch.is_grad_enabled() and angles.requires_grad
        if followed or angles.is_meta or torch.compiler.is_compiling():
            return self.computed(angles)
        for before, matrix in self._kept:
            same = (before.dtype, before.device) == (angles.dtype, angles.device)
            if same and torch.equal(before, angles):
                return matrix
        # Ordinary tensors, so that training works after an evaluation in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            copy = angles.detach().clone()
            self._kept.append((copy, self.computed(copy)))
        return self._kept[-1][1]

    def computed(self, angles: Tensor) -> Tensor:
        """The function of the angles, ``[..., P]``."""
        raise NotImplementedError  # abstract


class KeptUnitary(Kept):
    """The matrix of a circuit, ``[..., 2^n, 2^n]`` for angles ``[..., P]``.

    Args:
        circuit: ``P`` named parameters.
    """

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit

    def __call__(self, angles: Tensor) -> Tensor:
        """The matrices."""
        return self.kept(angles)

    def computed(self, angles: Tensor) -> Tensor:
        """The matrices, from the circuit."""
        return unitary(self.circuit, angles)
