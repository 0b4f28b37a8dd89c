"""Error mitigation on Qiskit devices: readout calibration, extrapolation to zero noise, decoupling.

Circuits are folded and padded after they were transpiled: before, the transpiler would cancel what
is folded. Folding is ours, since mitiq converts circuits to Cirq and back, which takes no named
angles and leaves gates that are not native.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.quantum.pauli import PauliStrings

#: Every kind by name.
MITIGATION = ("readout", "zne", "dd")
#: Shots of each of the two circuits that calibrate the readout of one set of qubits.
CALIBRATION_SHOTS = 10_000


class Mitigation:
    """What is done against a device's errors.

    Args:
        kinds: of :data:`MITIGATION`, or a text with commas between them; None for nothing.
            ``readout`` divides out the errors of each measured qubit, found by measuring all
            zeros and all ones. ``zne`` runs each circuit C also as C (C⁻¹ C)^k and extrapolates
            to no noise by the polynomial through the expectations (Richardson). ``dd`` lets
            idle qubits do X X, which undoes slow dephasing (dynamical decoupling).
        scales: for ``zne``, how many times as long each circuit is, 2k + 1.
        idle_times: for a simulated device: qubits wait as on hardware, so that they decay while
            others are busy. Otherwise nothing happens to a qubit without a gate. ``dd`` implies it.

    Raises:
        KetformerError: an unknown kind, or scales that are not odd or not distinct.
    """

    def __init__(
        self,
        kinds: str | Sequence[str] | None = None,
        scales: Sequence[int] = (1, 3),
        idle_times: bool = False,
    ) -> None:
        given = kinds.split(",") if isinstance(kinds, str) else list(kinds or ())
        given = [kind.strip() for kind in given]
        if unknown := sorted(set(given).difference(MITIGATION)):
            raise KetformerError(
                f"unknown mitigation {', '.join(unknown)}; known: {', '.join(MITIGATION)}"
            )
        if len(scales) < 2 or len(set(scales)) < len(scales) or not all(map(_is_odd, scales)):
            raise KetformerError(
                f"zne_scales must be two or more different odd numbers, got {list(scales)}"
            )
        #: Those chosen, in the order of :data:`MITIGATION`.
        self.kinds = tuple(kind for kind in MITIGATION if kind in given)
        self.idle_times = idle_times or "dd" in self.kinds
        #: Each scale with its weight in the extrapolation; without ``zne`` the circuit alone.
        self.scales: dict[int, float] = {1: 1.0}
        if "zne" in self.kinds:
            self.scales = dict(zip(scales, extrapolation(scales), strict=True))

    def prepared(self, compiled: Any, scale: int, target: Any) -> Any:
        """A transpiled and measured circuit, folded to a scale, with delays or decoupling.

        Args:
            compiled: a ``QuantumCircuit`` on a device's qubits, measured at its end.
            scale: an odd number.
            target: the device's ``Target``.
        """
        if scale > 1:
            compiled = folded(compiled, scale, target)
        return _padded(compiled, target, "dd" in self.kinds) if self.idle_times else compiled


def extrapolation(scales: Sequence[int]) -> list[float]:
    """Weights of the values at these scales in the value at 0 of the polynomial through them."""
    return [math.prod(other / (other - own) for other in scales if other != own) for own in scales]


def folded(compiled: Any, scale: int, target: Any) -> Any:
    """The circuit followed by its inverse and itself, (scale - 1) / 2 times, in native gates."""
    from qiskit.circuit.equivalence_library import SessionEquivalenceLibrary
    from qiskit.transpiler import PassManager
    from qiskit.transpiler.passes import BasisTranslator

    gates = [one for one in compiled.data if one.operation.name not in ("measure", "barrier")]
    ending = [one for one in compiled.data if one.operation.name in ("measure", "barrier")]
    out = compiled.copy_empty_like()
    for one in gates:
        out.append(one)
    for _ in range(scale // 2):
        for one in reversed(gates):
            out.append(one.operation.inverse(), one.qubits)
        for one in gates:
            out.append(one)
    for one in ending:
        out.append(one)
    return PassManager([BasisTranslator(SessionEquivalenceLibrary, None, target)]).run(out)


def measured_qubits(compiled: Any) -> tuple[int, ...]:
    """The device's qubits behind bits 0, 1, … of a transpiled and measured circuit."""
    found = {
        compiled.find_bit(one.clbits[0]).index: compiled.find_bit(one.qubits[0]).index
        for one in compiled.data
        if one.operation.name == "measure"
    }
    return tuple(found[bit] for bit in sorted(found))


def calibration(qubits: Sequence[int], n_qubits: int) -> tuple[Any, Any]:
    """Two circuits for a device of that many qubits that measure 0 and 1 on the given ones."""
    from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister

    circuits = []
    for flipped in (False, True):
        bits = ClassicalRegister(len(qubits), "meas")
        circuit = QuantumCircuit(QuantumRegister(n_qubits, "q"), bits)
        if flipped:
            circuit.x(list(qubits))
        circuit.measure(list(qubits), bits)
        circuits.append(circuit)
    return circuits[0], circuits[1]


def flips_of(zeros: Tensor, ones: Tensor, n_qubits: int) -> Tensor:
    """Probabilities ``[n, 2]`` with which each qubit reads 1 for 0, and 0 for 1.

    Args:
        zeros: outcomes of the first circuit of :func:`calibration`, qubit 0 as the most
            significant bit.
        ones: of the second.
        n_qubits: n.
    """
    places = torch.arange(n_qubits - 1, -1, -1)
    read = [((each.flatten()[:, None] >> places) & 1).double().mean(0) for each in (zeros, ones)]
    return torch.stack([read[0], 1 - read[1]], dim=-1)


def corrected_parities(outcomes: Tensor, strings: PauliStrings, flips: Tensor) -> Tensor:
    """As :func:`~ketformer.quantum.measurement.parities`, unbiased under independent flips.

    Each bit counts as g(0) or g(1) instead of 1 or -1, with g such that its mean is right. A
    corrected mean may lie beyond ±1.

    Args:
        outcomes: ``[..., shots]``, basis indices as read.
        strings: ``S`` strings of I and Z.
        flips: of each qubit, see :func:`flips_of`.

    Returns:
        ``[..., S]``, float64.

    Raises:
        KetformerError: a qubit is read wrongly as often as rightly.
    """
    to_one, to_zero = flips.double().unbind(-1)
    left = 1 - to_one - to_zero
    if (left < 0.01).any():
        raise KetformerError(
            f"qubit {int(left.argmin())} of the circuit is read at random, so no calibration "
            "corrects it; choose another device"
        )
    values = torch.stack([1 - to_zero + to_one, to_one - to_zero - 1], dim=-1) / left[:, None]
    columns = []
    for string in strings.strings:
        product = torch.ones(outcomes.shape, dtype=torch.float64)
        for qubit, letter in enumerate(string):
            if letter == "Z":
                product *= values[qubit][(outcomes >> (strings.n_qubits - 1 - qubit)) & 1]
        columns.append(product.mean(-1))
    return torch.stack(columns, dim=-1)


def _padded(compiled: Any, target: Any, decoupled: bool) -> Any:
    """The circuit scheduled as late as possible, with delays or X X while a qubit is idle."""
    from qiskit.circuit.library import XGate
    from qiskit.transpiler import PassManager, TranspilerError
    from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay, PadDynamicalDecoupling

    pad: Any = PadDelay(target=target)
    if decoupled:
        pad = PadDynamicalDecoupling(target=target, dd_sequence=[XGate(), XGate()])
    try:
        padded = PassManager([ALAPScheduleAnalysis(target=target), pad]).run(compiled)
    except TranspilerError as error:
        raise KetformerError(
            f"idle times need the durations of the device's gates: {error.message}"
        ) from error
    # A qubit that is never used need not wait, nor be simulated.
    busy = {
        compiled.find_bit(qubit).index
        for one in compiled.data
        if one.operation.name != "barrier"
        for qubit in one.qubits
    }
    out = padded.copy_empty_like()
    for one in padded.data:
        if one.operation.name == "barrier" or padded.find_bit(one.qubits[0]).index in busy:
            out.append(one)
    return out


def _is_odd(scale: Any) -> bool:
    return isinstance(scale, int) and scale > 0 and scale % 2 == 1
