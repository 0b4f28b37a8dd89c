"""An experiment for quantum hardware: a circuit, its angles, and what to measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.pauli import PauliStrings


@dataclass(frozen=True)
class Experiment:
    """One circuit, run once for each row of angles.

    Attributes:
        circuit: ``P`` named parameters on ``n`` qubits.
        angles: ``[..., P]`` in radians.
        strings: ``S`` Pauli strings on ``n`` qubits; the outcome is ``[..., S]``.
        frequencies: the frequencies with which an outcome depends on any single angle, if
            more is known than the gates alone imply; see
            :func:`~ketformer.quantum.gradients.parameter_shift`.
        registers: names and sizes of the registers, in order of the qubits, for drawings; none
            is one register ``q``.
    """

    circuit: Circuit
    angles: Tensor
    strings: PauliStrings
    frequencies: tuple[float, ...] | None = None
    registers: tuple[tuple[str, int], ...] = ()


#: Returns the outcomes ``[..., S]`` of an experiment, for example
#: ``lambda e: backend.expectations(e.circuit, e.angles, e.strings)``.
Expect = Callable[[Experiment], Tensor]
