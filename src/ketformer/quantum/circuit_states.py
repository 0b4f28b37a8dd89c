"""States of real circuits in which every state has some angles of its own, in C on the CPU.

It gives the same numbers as :func:`~ketformer.quantum.run` without storing intermediate states:
the backward pass undoes the circuit gate by gate.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum import native
from ketformer.quantum.circuit import Circuit, Gate
from ketformer.quantum.circuit_values import gate_program
from ketformer.quantum.native.calls import (
    contiguous,
    operation,
    run_backward,
    run_kernel,
    wants_gradient,
)


class CircuitStates:
    """A circuit of RY and (controlled) X with angles per state and angles shared by all.

    Args:
        circuit: its parameters are first each state's own angles, then the shared ones.
        n_own: number of own angles.
        early: number of first gates, the only ones for groups of states without shared angles.

    Raises:
        ValueError: :meth:`can_run` is false for the circuit.
    """

    def __init__(self, circuit: Circuit, n_own: int, early: int = 0) -> None:
        if not self.can_run(circuit):
            raise ValueError("there is no kernel for this circuit")
        self.circuit = circuit
        self.n_own = n_own
        gates, growing = _growing_first(circuit)
        program, sources = gate_program(Circuit(circuit.n_qubits, gates), circuit.parameters)
        self.growing = growing
        first = Circuit(circuit.n_qubits, gates[:early])
        self.early = len(gate_program(first, circuit.parameters)[0]) // 3
        self.tables = (
            torch.tensor(program, dtype=torch.int32, device="cpu").reshape(-1, 3),
            torch.tensor(sources, dtype=torch.int32, device="cpu"),
        )

    @staticmethod
    def can_run(circuit: Circuit) -> bool:
        """Whether the kernels are available and support these gates."""
        return native.library() is not None and all(
            g.name == "X"
            or ((g.name, g.controls) == ("RY", ()) and g.angle is not None and g.angle.is_plain)
            for g in circuit.gates
        )

    def __call__(self, own: Tensor, shared: Tensor) -> Tensor:
        """Compute the states.

        Args:
            own: ``[N, G, n_own]`` in radians, float32 or float64.
            shared: ``[W, P - n_own]``: each of the first W groups of states shares these angles,
                and the others stop early.

        Returns:
            ``[N, G, 2^n]``.
        """
        parts = halves(own, shared)
        direct: Callable[..., Tensor] = torch.ops.ketformer.circuit_states
        call: Callable[..., Tensor] = _Differentiable.apply if wants_gradient(*parts) else direct
        return call(*parts, *self.tables, self.circuit.n_qubits, self.growing, self.early)

    @property
    def ends_in_products(self) -> bool:
        """Whether the groups that stop early are product states: one RY on every qubit."""
        return self.growing == self.early == self.circuit.n_qubits

    def and_halves(self, own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """As a call, without a gradient; but halves of the states of the groups that stop early.

        They must be product states, see :attr:`ends_in_products`.

        Returns:
            The states of the first W groups, ``[N, W, 2^n]``, and of the others those of the first
            ⌈n/2⌉ qubits and of the rest side by side.
        """
        sizes = self.circuit.n_qubits, self.growing, self.early
        found: tuple[Tensor, Tensor] = torch.ops.ketformer.states_and_halves(
            *halves(own, shared), *self.tables, *sizes
        )
        return found

    def gradients(
        self, own: Tensor, shared: Tensor, states: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients by the angles, for a caller that does not leave the states to autograd.

        Args:
            own: as in a call.
            shared: as in a call.
            states: what the call returns.
            grad: the gradient by the states.
        """
        own_cos, own_sin, cos, sin = parts = halves(own, shared)
        by_own_cos, by_own_sin, by_cos, by_sin = torch.ops.ketformer.circuit_states_backward(
            grad, states, *parts, *self.tables, self.circuit.n_qubits, self.growing, self.early
        )
        own_grad = (own_cos * by_own_sin - own_sin * by_own_cos) / 2
        return own_grad, (cos * by_sin - sin * by_cos) / 2


def halves(own: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines and sines of half the angles."""
    half, turning = own / 2, shared / 2
    return half.cos(), half.sin(), turning.cos(), turning.sin()


def _growing_first(circuit: Circuit) -> tuple[tuple[Gate, ...], int]:
    """The gates, with a first layer of RY sorted by bit, and the length of that layer.

    The kernel then works on two amplitudes for the first RY, four for the second, and so on.
    """
    n = circuit.n_qubits
    first = circuit.gates[:n]
    if [g.qubits for g in first] != [(q,) for q in range(n)] or {g.name for g in first} != {"RY"}:
        return circuit.gates, 0
    return (*reversed(first), *circuit.gates[n:]), n


class StatesShape(ctypes.Structure):
    """The kernel's ``struct states_shape``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (
            "n_qubits", "groups", "n_own", "n_angles", "n_gates", "whole", "early", "growing",
        )),
        *((name, ctypes.c_void_p) for name in ("gates", "sources")),
    )  # fmt: skip


@operation
def circuit_states(
    own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor, sources: Tensor,
    n_qubits: int, growing: int, early: int,
) -> Tensor:  # fmt: skip
    """See :class:`CircuitStates`; cosines and sines are those of half the angles."""
    arrays = contiguous(own_cos, own_sin, cos, sin)
    count, groups, _ = own_cos.shape
    out = own_cos.new_empty(count, groups, 1 << n_qubits)
    shape = states_shape(own_cos, cos, gates, sources, n_qubits, growing, early)
    run_kernel("circuit_states", shape, (*arrays, out), count)
    return out


@operation
def states_and_halves(
    own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor, sources: Tensor,
    n_qubits: int, growing: int, early: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :meth:`CircuitStates.and_halves`."""
    arrays = contiguous(own_cos, own_sin, cos, sin)
    shape = states_shape(own_cos, cos, gates, sources, n_qubits, growing, early)
    found = _like_states_and_halves(own_cos, cos, n_qubits)
    run_kernel("states_and_halves", shape, (*arrays, *found), own_cos.shape[0])
    return found


def _like_states_and_halves(own: Tensor, shared: Tensor, n_qubits: int) -> tuple[Tensor, Tensor]:
    (count, groups, _), whole, half = own.shape, shared.shape[0], (n_qubits + 1) // 2
    width = (1 << half) + (1 << n_qubits - half)
    states = own.new_empty(count, whole, 1 << n_qubits)
    return states, own.new_empty(count, groups - whole, width)


@operation
def circuit_states_backward(
    grad: Tensor, out: Tensor, own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor,
    gates: Tensor, sources: Tensor, n_qubits: int, growing: int, early: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by the four tensors of cosines and sines."""
    arrays = contiguous(grad, out, own_cos, own_sin, cos, sin)
    own_grads = [torch.empty_like(part) for part in arrays[2:4]]
    shape = states_shape(own_cos, cos, gates, sources, n_qubits, growing, early)
    written = (*arrays, *own_grads)
    shared = run_backward("circuit_states_backward", shape, written, cos, out.shape[0])
    return own_grads[0], own_grads[1], *shared


@torch.library.register_fake("ketformer::circuit_states")  # type: ignore[untyped-decorator]
def _(own_cos: Tensor, *rest: Any) -> Tensor:
    return own_cos.new_empty(*own_cos.shape[:2], 1 << rest[-3])


@torch.library.register_fake("ketformer::states_and_halves")  # type: ignore[untyped-decorator]
def _(own_cos: Tensor, own_sin: Tensor, cos: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _like_states_and_halves(own_cos, cos, rest[-3])


@torch.library.register_fake("ketformer::circuit_states_backward")  # type: ignore[untyped-decorator]
def _(grad: Tensor, out: Tensor, *parts: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own_cos, own_sin, cos, sin = (part.new_empty(part.shape) for part in parts[:4])
    return own_cos, own_sin, cos, sin


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(
        own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor,
        sources: Tensor, n_qubits: int, growing: int, early: int,
    ) -> Tensor:  # fmt: skip
        states: Tensor = torch.ops.ketformer.circuit_states(
            own_cos, own_sin, cos, sin, gates, sources, n_qubits, growing, early
        )
        return states

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits, ctx.growing, ctx.early = inputs
        ctx.save_for_backward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        found = torch.ops.ketformer.circuit_states_backward(
            *grads, *ctx.saved_tensors, ctx.n_qubits, ctx.growing, ctx.early
        )
        return *found, *[None] * 5


def states_shape(
    own: Tensor, cos: Tensor, gates: Tensor, sources: Tensor, n_qubits: int, growing: int,
    early: int,
) -> StatesShape:  # fmt: skip
    """The sizes and tables of a call for ``own`` of shape ``[N, G, n_own]``."""
    _, groups, n_own = own.shape
    return StatesShape(
        n_qubits, groups, n_own, cos.shape[1], gates.shape[0], cos.shape[0], early, growing,
        gates.data_ptr(), sources.data_ptr(),
    )  # fmt: skip
