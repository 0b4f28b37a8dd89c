"""Expectations of Pauli strings after a circuit that all tokens share, in C on the CPU.

It gives the same numbers as :class:`~ketformer.quantum.PauliPlan` after
:func:`~ketformer.quantum.unitary`; ``native/circuit_layers.inc`` and ``native/pauli_strings.inc``
explain how.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum import native
from ketformer.quantum.circuit import Circuit
from ketformer.quantum.native.calls import (
    contiguous,
    operation,
    run_backward,
    run_kernel,
    wants_gradient,
)
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.pauli_programs import string_programs
from ketformer.quantum.simulate import flips_as_permutation

_GATES = {"RX": 0, "RY": 1}
_PERMUTE = 2


class CircuitValues:
    """The tables of a circuit and of each head's strings, as the native kernel reads them.

    Args:
        heads: one set of strings for each of ``H`` heads; ``S`` is the largest number in a set.
        circuit: the gates of every head, with ``P`` named angles; None for no gates.
    """

    def __init__(self, heads: Sequence[PauliStrings], circuit: Circuit | None = None) -> None:
        self.n_strings = max(map(len, heads))
        self.n_qubits = heads[0].n_qubits
        circuit = circuit or Circuit(self.n_qubits)
        gates, sources = gate_program(circuit, circuit.parameters)
        layers, rotations = _layers(gates)
        self.is_complex = any(gate.name == "RX" for gate in circuit.gates)
        shared = _table(layers, 4), _table(rotations, 3), _table(sources, 1 << self.n_qubits)
        # For real states, and for complex ones.
        of_strings = (string_programs(heads, is_complex) for is_complex in (False, True))
        self.tables = [(*shared, _table(n, 1), _table(of_head, 4)) for n, of_head in of_strings]

    @staticmethod
    def can_run(circuit: Circuit | None) -> bool:
        """Whether kernels are available and support the gates: plain RX, RY, (controlled) X."""
        gates = () if circuit is None else circuit.gates
        return native.library() is not None and all(
            g.name == "X"
            or (g.name in _GATES and not g.controls and g.angle is not None and g.angle.is_plain)
            for g in gates
        )

    def __call__(
        self,
        real: Tensor,
        imag: Tensor | None,
        angles: Tensor | None,
        normalise: bool = False,
    ) -> Tensor:
        """Compute <state|C† P C|state> for each head's strings.

        Args:
            real: ``[N, H or 1, d]``, the real parts of the first d amplitudes of N states, float32
                or float64; the others are 0. With 1, all heads start from the same state.
            imag: the imaginary parts; None for real states.
            angles: ``[H, P]`` in radians; None without gates.
            normalise: divide real states by their norms first, as
                :func:`~ketformer.quantum.amplitude_encode` does.

        Returns:
            ``[N, H, S]``; 0 beyond a head's last string.
        """
        is_complex = self.is_complex or imag is not None
        tables = self.tables[is_complex]
        if angles is None:
            # Two tensors, because torch.compile does not accept one twice.
            cos, sin = (real.new_empty(tables[-1].shape[0], 0) for _ in range(2))
        else:
            cos, sin = (angles / 2).cos(), (angles / 2).sin()
        # Calling an autograd.Function takes longer than computing one token.
        direct = torch.ops.ketformer.circuit_values
        followed = wants_gradient(real, imag, cos, sin)
        call: Callable[..., Tensor] = _Differentiable.apply if followed else direct
        sizes = self.n_qubits, self.n_strings
        return call(real, imag, cos, sin, *tables, *sizes, is_complex, normalise)


def gate_program(circuit: Circuit, parameters: Sequence[str]) -> tuple[list[int], list[int]]:
    """The gates as the kernels read them, and the tables of their permutations, flattened.

    Args:
        circuit: a circuit of RX, RY and (controlled) X.
        parameters: names of its angles, in the order of the columns.
    """
    column = {name: i for i, name in enumerate(parameters)}
    gates: list[int] = []
    sources: list[int] = []
    tables = 0
    for flips, run in groupby(circuit.gates, key=lambda gate: gate.name == "X"):
        if flips:
            sources += flips_as_permutation(tuple(run), circuit.n_qubits).tolist()
            gates += [_PERMUTE, tables, 0]
            tables += 1
            continue
        for gate in run:
            assert gate.angle is not None  # checked by can_run
            bit = circuit.n_qubits - 1 - gate.target
            gates += [_GATES[gate.name], bit, column[str(gate.angle.value)]]
    return gates, sources


def _layers(gates: list[int]) -> tuple[list[int], list[int]]:
    """The layers of a gate program, as in the kernel's ``struct shape``, and their rotations."""
    layers: list[list[int]] = []
    rotations: list[int] = []
    for kind, which, angle in zip(*[iter(gates)] * 3, strict=True):
        if kind == _PERMUTE or not layers:
            here = len(rotations) // 3
            layers.append([which if kind == _PERMUTE else -1, here, here])
        if kind != _PERMUTE:
            rotations += [kind, which, angle]
            layers[-1][2] += 1
    if layers and _GATES["RX"] in rotations[3 * layers[-1][1] :: 3]:
        layers.append([-1, layers[-1][2], layers[-1][2]])  # for the factors that RX leaves
    moved = [source >= 0 for source, _, _ in layers]
    return [n for i, each in enumerate(layers) for n in (*each, not any(moved[i + 1 :]))], rotations


def _table(numbers: Sequence[int], columns: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device="cpu").reshape(-1, columns)


class _Shape(ctypes.Structure):
    """The kernel's ``struct shape``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (
            "n_qubits", "width", "heads", "states", "strings", "n_angles", "n_layers", "is_complex",
            "normalise",
        )),
        *((name, ctypes.c_void_p) for name in (
            "layers", "gates", "sources", "program", "programs",
        )),
    )  # fmt: skip


@operation
def circuit_values(
    real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, layers: Tensor, gates: Tensor,
    sources: Tensor, program: Tensor, programs: Tensor, n_qubits: int, n_strings: int,
    is_complex: bool, normalise: bool,
) -> Tensor:  # fmt: skip
    """See :class:`CircuitValues`; ``cos`` and ``sin`` are those of half the angles."""
    real, imag, cos, sin = contiguous(real, imag, cos, sin)
    tables = layers, gates, sources, program, programs
    shape = _shape(real, cos, tables, n_qubits, n_strings, is_complex, normalise)
    out = real.new_empty(real.shape[0], cos.shape[0], n_strings)
    run_kernel("circuit_values", shape, (real, imag, cos, sin, out), real.shape[0])
    return out


@operation
def circuit_values_backward(
    grad: Tensor, real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, layers: Tensor,
    gates: Tensor, sources: Tensor, program: Tensor, programs: Tensor, n_qubits: int,
    is_complex: bool, normalise: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by ``real``, ``imag`` (empty for None), ``cos`` and ``sin``."""
    real, imag, cos, sin = contiguous(real, imag, cos, sin)
    grad = grad.contiguous()
    tables = layers, gates, sources, program, programs
    shape = _shape(real, cos, tables, n_qubits, grad.shape[-1], is_complex, normalise)
    real_grad = torch.empty_like(real)
    imag_grad = real.new_empty(0) if imag is None else torch.empty_like(imag)
    arrays = (grad, real, imag, cos, sin, real_grad, imag_grad)
    by_angles = run_backward("circuit_values_backward", shape, arrays, cos, real.shape[0])
    return real_grad, imag_grad, *by_angles


@torch.library.register_fake("ketformer::circuit_values")  # type: ignore[untyped-decorator]
def _(real: Tensor, imag: Any, cos: Tensor, *rest: Any) -> Tensor:
    return real.new_empty(real.shape[0], cos.shape[0], rest[-3])


@torch.library.register_fake("ketformer::circuit_values_backward")  # type: ignore[untyped-decorator]
def _(
    grad: Tensor, real: Tensor, imag: Any, cos: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        real.new_empty(real.shape),
        real.new_empty((0,) if imag is None else real.shape),
        cos.new_empty(cos.shape),
        cos.new_empty(cos.shape),
    )


class _Differentiable(torch.autograd.Function):
    """The operation with a gradient that also works with torch.func."""

    @staticmethod  # every argument by name: torch.compile mistakes *inputs for a context
    def forward(
        real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, layers: Tensor, gates: Tensor,
        sources: Tensor, program: Tensor, programs: Tensor, n_qubits: int, n_strings: int,
        is_complex: bool, normalise: bool,
    ) -> Tensor:  # fmt: skip
        values: Tensor = torch.ops.ketformer.circuit_values(
            real, imag, cos, sin, layers, gates, sources, program, programs, n_qubits, n_strings,
            is_complex, normalise,
        )  # fmt: skip
        return values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits, _, ctx.is_complex, ctx.normalise = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing recomputes them at every access
        by_real, by_imag, by_cos, by_sin = torch.ops.ketformer.circuit_values_backward(
            grads[0], *saved, ctx.n_qubits, ctx.is_complex, ctx.normalise
        )
        real_states = saved[1] is None
        return by_real, None if real_states else by_imag, by_cos, by_sin, *[None] * 9


def _shape(
    real: Tensor, cos: Tensor, tables: tuple[Tensor, ...], n_qubits: int, n_strings: int,
    is_complex: bool, normalise: bool,
) -> _Shape:  # fmt: skip
    _, states, width = real.shape
    return _Shape(
        n_qubits, width, cos.shape[0], states, n_strings, cos.shape[1], tables[0].shape[0],
        is_complex, normalise, *(table.data_ptr() for table in tables),
    )  # fmt: skip
