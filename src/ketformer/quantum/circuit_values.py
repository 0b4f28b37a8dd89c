"""Expectations of Pauli strings after a circuit that all tokens share, in C on the CPU.

It gives the same numbers as :class:`~ketformer.quantum.PauliPlan` after
:func:`~ketformer.quantum.unitary`; ``native/kernels.c`` explains how.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
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
        programs = [_program(strings) for strings in heads]
        circuit = circuit or Circuit(self.n_qubits)
        gates, sources = gate_program(circuit, circuit.parameters)
        self.tables = (
            torch.tensor(gates, dtype=torch.int32, device="cpu").reshape(-1, 3),
            torch.tensor(sources, dtype=torch.int32, device="cpu").reshape(-1, 1 << self.n_qubits),
            torch.tensor([n for p in programs for n in p], dtype=torch.int32, device="cpu"),
            torch.tensor([0, *accumulate(map(len, programs))], dtype=torch.int32, device="cpu"),
        )

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
        if angles is None:
            # Two tensors, because torch.compile does not accept one twice.
            cos, sin = (real.new_empty(self.tables[3].shape[0] - 1, 0) for _ in range(2))
        else:
            cos, sin = (angles / 2).cos(), (angles / 2).sin()
        # Calling an autograd.Function takes longer than computing one token.
        direct = torch.ops.ketformer.circuit_values
        followed = wants_gradient(real, imag, cos, sin)
        call: Callable[..., Tensor] = _Differentiable.apply if followed else direct
        return call(real, imag, cos, sin, *self.tables, self.n_qubits, self.n_strings, normalise)


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


def _program(strings: PauliStrings) -> list[int]:
    groups: dict[tuple[int, bool], list[tuple[int, int, int]]] = {}
    for row, string in enumerate(strings.strings):
        flip = strings.flip_mask(string)
        pivot = 1 << flip.bit_length() >> 1
        # Only products with a 0 at the pivot are computed, so its phase never counts.
        phase = int("".join("1" if c in "YZ" else "0" for c in string), 2) & ~pivot
        n_y = string.count("Y")
        # As in `PauliStrings.tables`; where bits flip, each product counts twice.
        factor = (-1) ** (n_y // 2) * (2 if flip else 1)
        groups.setdefault((flip, n_y % 2 == 1), []).append((row, phase, factor))
    out: list[int] = []
    for (flip, odd), members in groups.items():
        wanted = 0
        for _, phase, _ in members:
            wanted |= phase
        out += [flip, flip.bit_length() - 1, int(odd), wanted, len(members)]
        for row, phase, factor in members:
            out += [row, _closed_up(phase, wanted), factor]
    return out


def _closed_up(number: int, mask: int) -> int:
    """The bits of ``number`` selected by ``mask``, packed together."""
    places = [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    return sum((number >> bit & 1) << place for place, bit in enumerate(places))


class _Shape(ctypes.Structure):
    """The kernel's ``struct shape``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (
            "n_qubits", "width", "heads", "states", "strings", "n_angles", "n_gates", "normalise",
        )),
        *((name, ctypes.c_void_p) for name in ("gates", "sources", "program", "starts")),
    )  # fmt: skip


@operation
def circuit_values(
    real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, gates: Tensor, sources: Tensor,
    program: Tensor, starts: Tensor, n_qubits: int, n_strings: int, normalise: bool,
) -> Tensor:  # fmt: skip
    """See :class:`CircuitValues`; ``cos`` and ``sin`` are those of half the angles."""
    real, imag, cos, sin = contiguous(real, imag, cos, sin)
    shape = _shape(real, cos, gates, sources, program, starts, n_qubits, n_strings, normalise)
    out = real.new_empty(real.shape[0], cos.shape[0], n_strings)
    run_kernel("circuit_values", shape, (real, imag, cos, sin, out), real.shape[0])
    return out


@operation
def circuit_values_backward(
    grad: Tensor, real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, gates: Tensor,
    sources: Tensor, program: Tensor, starts: Tensor, n_qubits: int, normalise: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by ``real``, ``imag`` (empty for None), ``cos`` and ``sin``."""
    real, imag, cos, sin = contiguous(real, imag, cos, sin)
    grad = grad.contiguous()
    tables = gates, sources, program, starts
    shape = _shape(real, cos, *tables, n_qubits, grad.shape[-1], normalise)
    real_grad = torch.empty_like(real)
    imag_grad = real.new_empty(0) if imag is None else torch.empty_like(imag)
    arrays = (grad, real, imag, cos, sin, real_grad, imag_grad)
    by_angles = run_backward("circuit_values_backward", shape, arrays, cos, real.shape[0])
    return real_grad, imag_grad, *by_angles


@torch.library.register_fake("ketformer::circuit_values")  # type: ignore[untyped-decorator]
def _(real: Tensor, imag: Any, cos: Tensor, *rest: Any) -> Tensor:
    return real.new_empty(real.shape[0], cos.shape[0], rest[-2])


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
        real: Tensor, imag: Tensor | None, cos: Tensor, sin: Tensor, gates: Tensor,
        sources: Tensor, program: Tensor, starts: Tensor, n_qubits: int, n_strings: int,
        normalise: bool,
    ) -> Tensor:  # fmt: skip
        values: Tensor = torch.ops.ketformer.circuit_values(
            real, imag, cos, sin, gates, sources, program, starts, n_qubits, n_strings, normalise
        )
        return values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.n_qubits, _, ctx.normalise = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # read once: checkpointing recomputes them at every access
        by_real, by_imag, by_cos, by_sin = torch.ops.ketformer.circuit_values_backward(
            grads[0], *saved, ctx.n_qubits, ctx.normalise
        )
        real_states = saved[1] is None
        return by_real, None if real_states else by_imag, by_cos, by_sin, *[None] * 7


def _shape(
    real: Tensor, cos: Tensor, gates: Tensor, sources: Tensor, program: Tensor, starts: Tensor,
    n_qubits: int, n_strings: int, normalise: bool,
) -> _Shape:  # fmt: skip
    _, states, width = real.shape
    return _Shape(
        n_qubits, width, cos.shape[0], states, n_strings, cos.shape[1], gates.shape[0], normalise,
        gates.data_ptr(), sources.data_ptr(), program.data_ptr(), starts.data_ptr(),
    )  # fmt: skip
