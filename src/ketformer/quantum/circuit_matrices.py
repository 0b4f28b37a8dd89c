"""Matrices of circuits in which every angle is the token's own, in C on the CPU.

It gives the same numbers as :func:`~ketformer.quantum.unitary`; the backward pass undoes the
circuit gate by gate, from its matrix.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum import native
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.native.calls import (
    address,
    contiguous,
    in_parts,
    kernel,
    operation,
    wants_gradient,
)

_ROTATIONS = {"RX": 0, "RY": 1}


class CircuitMatrices:
    """A circuit of RX and RY, each with at most one control.

    Args:
        circuit: ``P`` named angles.

    Raises:
        ValueError: :meth:`can_run` is false for the circuit.
    """

    def __init__(self, circuit: Circuit) -> None:
        if not self.can_run(circuit):
            raise ValueError("there is no kernel for this circuit")
        self.n_qubits = n = circuit.n_qubits
        column = {name: i for i, name in enumerate(circuit.parameters)}
        program = []
        for gate in circuit.gates:
            assert gate.angle is not None  # checked by can_run
            control = n - 1 - gate.controls[0] if gate.controls else -1
            angle = column[str(gate.angle.value)]
            program.append([_ROTATIONS[gate.name], n - 1 - gate.target, angle, control])
        self.gates = torch.tensor(program, dtype=torch.int32, device="cpu").reshape(-1, 4)

    @staticmethod
    def can_run(circuit: Circuit) -> bool:
        """Whether the kernels are available and support these gates."""
        return native.library() is not None and all(
            g.name in _ROTATIONS
            and len(g.controls) < 2
            and g.angle is not None
            and g.angle.is_plain
            for g in circuit.gates
        )

    def __call__(self, angles: Tensor) -> Tensor:
        """The complex matrices ``[N, 2^n, 2^n]`` of angles ``[N, P]``, float32 or float64."""
        half = angles / 2
        parts = half.cos(), half.sin()
        direct: Callable[..., Tensor] = torch.ops.ketformer.circuit_matrices
        call: Callable[..., Tensor] = _Differentiable.apply if wants_gradient(*parts) else direct
        return torch.view_as_complex(call(*parts, self.gates, self.n_qubits))


@operation
def circuit_matrices(cos: Tensor, sin: Tensor, gates: Tensor, n_qubits: int) -> Tensor:
    """See :class:`CircuitMatrices`; ``[N, 2^n, 2^n, 2]`` from those of half the angles."""
    arrays = contiguous(cos, sin)
    side = 1 << n_qubits
    out = cos.new_empty(len(cos), side, side, 2)
    sizes = n_qubits, cos.shape[1], len(gates)
    call = kernel("circuit_matrices", cos)

    def part(begin: int, end: int, _: int) -> int:
        return call(*map(ctypes.c_int, sizes), *map(address, (gates, *arrays, out)), begin, end)

    in_parts(part, len(cos))
    return out


@operation
def circuit_matrices_backward(
    grad: Tensor, out: Tensor, cos: Tensor, sin: Tensor, gates: Tensor, n_qubits: int
) -> tuple[Tensor, Tensor]:
    """Gradients by the cosines and sines."""
    cos, sin, out, grad = contiguous(cos, sin, out, grad)
    arrays = cos, sin, out, grad, torch.empty_like(cos), torch.empty_like(sin)
    sizes = n_qubits, cos.shape[1], len(gates)
    call = kernel("circuit_matrices_backward", cos)

    def part(begin: int, end: int, _: int) -> int:
        return call(*map(ctypes.c_int, sizes), *map(address, (gates, *arrays)), begin, end)

    in_parts(part, len(cos))
    return arrays[4], arrays[5]


@torch.library.register_fake("ketformer::circuit_matrices")  # type: ignore[untyped-decorator]
def _(cos: Tensor, sin: Tensor, gates: Tensor, n_qubits: int) -> Tensor:
    return cos.new_empty(cos.shape[0], 1 << n_qubits, 1 << n_qubits, 2)


@torch.library.register_fake("ketformer::circuit_matrices_backward")  # type: ignore[untyped-decorator]
def _(grad: Tensor, out: Tensor, cos: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return cos.new_empty(cos.shape), cos.new_empty(cos.shape)


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(cos: Tensor, sin: Tensor, gates: Tensor, n_qubits: int) -> Tensor:
        found: Tensor = torch.ops.ketformer.circuit_matrices(cos, sin, gates, n_qubits)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits = inputs
        ctx.save_for_backward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing recomputes them at every access
        found = torch.ops.ketformer.circuit_matrices_backward(*grads, *saved, ctx.n_qubits)
        return *found, None, None
