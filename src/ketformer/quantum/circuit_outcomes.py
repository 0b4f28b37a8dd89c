"""<Z> of some qubits, with angles of each token and angles that all share, in C on the CPU.

It gives the same numbers as :func:`~ketformer.quantum.run` and Z of each qubit, without storing any
state: the backward pass runs the circuit again, then undoes it gate by gate.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum import native
from ketformer.quantum.circuit import Circuit, Gate
from ketformer.quantum.native.calls import (
    contiguous,
    operation,
    run_backward,
    run_kernel,
    wants_gradient,
)

_ROTATIONS = {"RX": 0, "RY": 1, "RZ": 3}
_TURNS = (_ROTATIONS["RX"], _ROTATIONS["RY"])
_FLIP, _GROW, _SQUARE = 4, 5, 6


class CircuitOutcomes:
    """A circuit of RX, RY, RZ and CNOT on |0…0> with angles per state and angles shared by all.

    Args:
        circuit: its parameters are first each state's own angles, then the shared ones.
        n_own: number of own angles.
        n_outcomes: Z of so many qubits is measured, beginning with the first.

    Raises:
        ValueError: :meth:`can_run` is false for the circuit.
    """

    def __init__(self, circuit: Circuit, n_own: int, n_outcomes: int) -> None:
        if not self.can_run(circuit):
            raise ValueError("there is no kernel for this circuit")
        self.circuit = circuit
        self.n_own = n_own
        program, bits = _program(circuit, n_outcomes)
        self.tables = (
            torch.tensor(program, dtype=torch.int32, device="cpu").reshape(-1, 5),
            torch.tensor(bits, dtype=torch.int32, device="cpu"),
        )

    @staticmethod
    def can_run(circuit: Circuit) -> bool:
        """Whether the kernels are available and support these gates."""
        return native.library() is not None and all(
            (g.name == "X" and len(g.controls) == 1)
            or (
                g.name in _ROTATIONS and not g.controls and g.angle is not None and g.angle.is_plain
            )
            for g in circuit.gates
        )

    def __call__(self, own: Tensor, shared: Tensor) -> Tensor:
        """Compute the outcomes.

        Args:
            own: ``[N, G, n_own]`` in radians, float32 or float64.
            shared: ``[G, P - n_own]``: each of G groups of states shares these angles.

        Returns:
            ``[N, G, n_outcomes]``.
        """
        half, turning = own / 2, shared / 2
        parts = half.cos(), half.sin(), turning.cos(), turning.sin()
        direct: Callable[..., Tensor] = torch.ops.ketformer.circuit_outcomes
        call: Callable[..., Tensor] = _Differentiable.apply if wants_gradient(*parts) else direct
        return call(*parts, *self.tables, self.circuit.n_qubits)


def _program(circuit: Circuit, n_outcomes: int) -> tuple[list[int], list[int]]:
    """The gates as the kernel reads them, flattened, and the bit of each outcome's qubit.

    A qubit joins the state just before its first gate with another one, so that gates before that
    act on few amplitudes. A CNOT, RX or RY on its control and RZ there are one pass over the state.
    CNOTs behind the last rotation move probabilities.
    """
    column = {name: i for i, name in enumerate(circuit.parameters)}
    gates = _that_count(circuit, n_outcomes)
    last = max((i for i, gate in enumerate(gates) if gate.angle is not None), default=-1)
    program: list[list[int]] = []
    bits: dict[int, int] = {}
    latest: dict[int, list[int]] = {}  # the last pass over each qubit

    def grow(qubits: tuple[int, ...] | range) -> None:
        for qubit in qubits:
            if qubit not in bits:
                bits[qubit] = len(bits)
                program.append([_GROW, qubit, 0, 0, 0])

    for gate in gates[: last + 1]:
        before = latest.get(gate.target, [-1] * 5)
        if gate.angle is None:
            grow(gate.qubits)
            program.append([_FLIP, bits[gate.target], bits[gate.controls[0]], 0, 0])
            latest |= dict.fromkeys(gate.qubits, program[-1])
            continue
        bit, angle = bits.get(gate.target, -1 - gate.target), column[str(gate.angle.value)]
        if gate.name != "RZ" and before[0] == _FLIP and before[2] == bit:
            before[:] = [_ROTATIONS[gate.name], bit, angle, before[1], -1]
        elif gate.name == "RZ" and before[0] in _TURNS and before[1] == bit and before[4] < 0:
            before[4] = angle
        else:
            turn = gate.name != "RZ"
            both = (angle, -1, -1) if turn else (0, -1, angle)
            program.append([_ROTATIONS[gate.name], bit, *both])
            latest[gate.target] = program[-1]
    grow(range(circuit.n_qubits))
    program.append([_SQUARE, 0, 0, 0, 0])
    for gate in gates[last + 1 :]:
        program.append([_FLIP, bits[gate.target], bits[gate.controls[0]], 0, 0])
    return [n for each in program for n in each], [bits[qubit] for qubit in range(n_outcomes)]


def _that_count(circuit: Circuit, n_outcomes: int) -> list[Gate]:
    """The gates without those that change no outcome.

    Followed back from Z of the outcomes, strings act on some qubits, and may turn Z on some of
    them: only there does RZ count.
    """
    seen, turned = set(range(n_outcomes)), set[int]()
    kept: list[Gate] = []
    for gate in reversed(circuit.gates):
        if not seen.intersection(gate.qubits) or (gate.name == "RZ" and gate.target not in turned):
            continue
        kept.append(gate)
        if gate.name in ("RX", "RY"):
            turned.add(gate.target)
        elif gate.name == "X":
            seen.update(gate.qubits)
            if gate.controls[0] in turned:
                turned.add(gate.target)
    return kept[::-1]


class _Shape(ctypes.Structure):
    """The kernel's ``struct outcomes_shape``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (
            "n_qubits", "n_outcomes", "groups", "n_own", "n_angles", "n_gates",
        )),
        *((name, ctypes.c_void_p) for name in ("gates", "bits")),
    )  # fmt: skip


@operation
def circuit_outcomes(
    own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor, bits: Tensor,
    n_qubits: int,
) -> Tensor:  # fmt: skip
    """See :class:`CircuitOutcomes`; cosines and sines are those of half the angles."""
    arrays = contiguous(own_cos, own_sin, cos, sin)
    count, groups, _ = own_cos.shape
    out = own_cos.new_empty(count, groups, len(bits))
    shape = _shape(own_cos, cos, gates, bits, n_qubits)
    run_kernel("circuit_outcomes", shape, (*arrays, out), count)
    return out


@operation
def circuit_outcomes_backward(
    grad: Tensor, own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor,
    bits: Tensor, n_qubits: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by the four tensors of cosines and sines."""
    arrays = contiguous(grad, own_cos, own_sin, cos, sin)
    own_grads = [torch.empty_like(part) for part in arrays[1:3]]
    shape = _shape(own_cos, cos, gates, bits, n_qubits)
    written = (*arrays, *own_grads)
    shared = run_backward("circuit_outcomes_backward", shape, written, cos, own_cos.shape[0])
    return own_grads[0], own_grads[1], *shared


@torch.library.register_fake("ketformer::circuit_outcomes")  # type: ignore[untyped-decorator]
def _(own_cos: Tensor, *rest: Any) -> Tensor:
    return own_cos.new_empty(*own_cos.shape[:2], rest[-2].shape[0])


@torch.library.register_fake("ketformer::circuit_outcomes_backward")  # type: ignore[untyped-decorator]
def _(grad: Tensor, *parts: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own_cos, own_sin, cos, sin = (part.new_empty(part.shape) for part in parts[:4])
    return own_cos, own_sin, cos, sin


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(
        own_cos: Tensor, own_sin: Tensor, cos: Tensor, sin: Tensor, gates: Tensor, bits: Tensor,
        n_qubits: int,
    ) -> Tensor:  # fmt: skip
        outcomes: Tensor = torch.ops.ketformer.circuit_outcomes(
            own_cos, own_sin, cos, sin, gates, bits, n_qubits
        )
        return outcomes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing recomputes them at every access
        found = torch.ops.ketformer.circuit_outcomes_backward(*grads, *saved, ctx.n_qubits)
        return *found, None, None, None


def _shape(own: Tensor, cos: Tensor, gates: Tensor, bits: Tensor, n_qubits: int) -> _Shape:
    _, groups, n_own = own.shape
    return _Shape(
        n_qubits, len(bits), groups, n_own, cos.shape[1], gates.shape[0],
        gates.data_ptr(), bits.data_ptr(),
    )  # fmt: skip
