"""Circuits for the backends' conformance checks, and comparisons of the results."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ketformer.quantum.ansatz import entangling_ansatz, rotation_ring_ansatz
from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.gates import GATES
from ketformer.quantum.hadamard import hadamard_test
from ketformer.quantum.pauli import PauliStrings
from ketformer.quantum.preparation import amplitude_preparation
from ketformer.utils import conformance
from ketformer.utils.conformance import MismatchError

#: How far a sampled number may lie from its expectation. By chance, one in two million exceeds it.
STANDARD_ERRORS = 5.0


@dataclass(frozen=True)
class Scope:
    """How much the checks cover.

    Attributes:
        draws: number of random circuits.
        max_qubits: largest number of qubits in a random circuit.
        seed: seed of the circuits, their angles and the shots.
    """

    draws: int = 8
    max_qubits: int = 4
    seed: int = 0

    def circuits(self) -> tuple[Circuit, ...]:
        """Random circuits, every single gate, minimal circuits, and those of the mechanisms."""
        return (*self.drawn(), *_every_gate(), *_smallest(), *mechanisms())

    def drawn(self) -> Iterator[Circuit]:
        """Random circuits from all gates, with repeated angle names, factors and fixed angles."""
        source = random.Random(self.seed)
        for _ in range(self.draws):
            n = source.randint(1, self.max_qubits)
            yield Circuit(n, tuple(_gate(source, n) for _ in range(source.randint(4, 14))))

    def angles(self, circuit: Circuit, *batch: int) -> Tensor:
        """Random angles ``[*batch, P]``, in radians, up to two turns either way."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (*batch, len(circuit.parameters))
        return (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * 8 * math.pi

    def strings(self, n_qubits: int) -> PauliStrings:
        """Random Pauli strings, one of them repeated, the identity, and Z on every qubit."""
        source = random.Random(self.seed)
        drawn = ["".join(source.choices("IXYZ", k=n_qubits)) for _ in range(6)]
        return PauliStrings((*drawn, drawn[0], "I" * n_qubits, "Z" * n_qubits))


def mechanisms() -> Iterator[Circuit]:
    """Small versions of our mechanisms' circuits."""
    yield amplitude_preparation(3)
    yield entangling_ansatz(3, 2)
    yield hadamard_test(rotation_ring_ansatz(2, 2), rotation_ring_ansatz(2, 2))
    yield hadamard_test(rotation_ring_ansatz(2, 1), entangling_ansatz(2, 1))


def close(
    what: str, found: Tensor, expected: Tensor, tolerance: float, circuit: Circuit | None = None
) -> float:
    """Return the largest difference; the shapes must agree, the difference be in ``tolerance``."""
    return conformance.close(what, found, expected, tolerance, _of(circuit))


def frequencies(
    what: str, outcomes: Tensor, probabilities: Tensor, circuit: Circuit | None = None
) -> float:
    """The largest deviation of an outcome's frequency, in standard errors.

    Args:
        what: what is compared, for the message.
        outcomes: ``[..., shots]``, basis indices.
        probabilities: ``[..., 2^n]``.
        circuit: the circuit that was run, for the message.
    """
    shots, size = outcomes.shape[-1], probabilities.shape[-1]
    if not bool(((outcomes >= 0) & (outcomes < size)).all()):
        raise MismatchError(f"{what}: outcomes outside 0..{size - 1}{_of(circuit)}")
    rows = outcomes.reshape(-1, shots)
    counts = torch.stack([torch.bincount(row, minlength=size) for row in rows])
    expected = probabilities.reshape(-1, size) * shots
    if bool(((expected < 1e-9) & (counts > 0)).any()):
        raise MismatchError(f"{what}: an impossible outcome occurred{_of(circuit)}")
    # Anscombe's arcsine scale, on which the standard error is 1 for rare outcomes as well.
    scaled = [((x + 0.375) / (shots + 0.75)).sqrt().clamp(max=1).asin() for x in (counts, expected)]
    deviation = float((scaled[0] - scaled[1]).abs().max()) * 2 * math.sqrt(shots + 0.5)
    return within_errors(what, deviation, circuit)


def within_errors(what: str, deviation: float, circuit: Circuit | None = None) -> float:
    """Return the deviation, which must be within :data:`STANDARD_ERRORS`."""
    if not deviation <= STANDARD_ERRORS:
        raise MismatchError(
            f"{what}: off by {deviation:.1f} standard errors, {STANDARD_ERRORS:g} "
            f"allowed{_of(circuit)}",
            deviation,
        )
    return deviation


def _every_gate() -> Iterator[Circuit]:
    """Each gate on up to three qubits, so with zero, one and two controls; two to a circuit."""
    spread = Circuit(4)
    for qubit in range(4):
        spread = spread.ry(qubit, 0.7 + qubit).rz(qubit, 1.1 - qubit)
    names = list(GATES)
    for some in (names[i::9] for i in range(9)):
        circuit = spread
        for name in some:
            angle = Angle("a", 0.5, -0.3) if GATES[name].has_angle else None
            second = 3 if GATES[name].targets == 2 else None
            several = ((), (2,), (2, 0))[: 4 - GATES[name].targets]
            gates = tuple(Gate(name, 1, controls, angle, second) for controls in several)
            circuit = circuit.then(Circuit(4, gates)).rx(1, 0.4)
        yield circuit


def _smallest() -> Iterator[Circuit]:
    yield Circuit(1)
    yield Circuit(3)
    yield Circuit(1).h(0)
    yield Circuit(1).rx(0, "a")
    yield Circuit(2).h(0).cnot(0, 1)


def _gate(source: random.Random, n_qubits: int) -> Gate:
    name = source.choice([name for name, kind in GATES.items() if kind.targets <= n_qubits])
    qubits = source.sample(range(n_qubits), n_qubits)
    target = qubits.pop()
    second = qubits.pop() if GATES[name].targets == 2 else None
    angle = None
    if GATES[name].has_angle:
        value = source.choice(("a", "b", "c", source.uniform(-7, 7)))
        factor, offset = source.choice((1.0, 1.0, 0.5, -2.0, 0.3)), source.choice((0.0, 0.0, 1.2))
        angle = Angle(value, factor, offset)
    return Gate(name, target, tuple(qubits[: source.randint(0, 2)]), angle, second)


def _of(circuit: Circuit | None) -> str:
    if circuit is None:
        return ""
    gates = ", ".join(f"{g.label}{list(g.qubits)}" for g in circuit.gates)
    return f"; of {circuit.n_qubits} qubits: {gates or 'no gates'}"
