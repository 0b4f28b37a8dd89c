"""Unitaries that all tokens share, cached until the parameters change."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from ketformer.quantum import Circuit, unitary

#: On more qubits, the shared matrix takes more memory than the states that it acts on.
MAX_DENSE_QUBITS = 10


class KeptUnitary:
    """The matrix of a circuit, rebuilt only when its angles have changed.

    When gradients are needed it is built on every call. Otherwise the angles are compared by
    value with earlier ones: there are few of them, and a comparison notices a change
    however it was made.

    Args:
        circuit: ``P`` named parameters.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        # Two, because queries and keys of a mechanism take turns.
        self._kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=2)

    def __call__(self, angles: Tensor) -> Tensor:
        """The matrices ``[..., 2^n, 2^n]`` of angles ``[..., P]``."""
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
        """What is kept: the matrices, or in a subclass something else that only angles decide."""
        return unitary(self.circuit, angles)
