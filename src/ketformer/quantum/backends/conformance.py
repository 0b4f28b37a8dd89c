"""Conformance checks for backends, to run on your own backend as well.

:func:`check_backend` runs them all. In a test file::

    @pytest.mark.parametrize("check", CONFORMANCE, ids=str)
    def test_conformance(check):
        check(MyBackend)

Exact results are compared with our own simulator, to within the backend's ``tolerance``;
samples are compared with the exact probabilities, to within :data:`STANDARD_ERRORS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from unittest import SkipTest

import torch

from ketformer.quantum.ansatz import entangling_ansatz, rotation_ring_ansatz
from ketformer.quantum.backends._trials import (
    STANDARD_ERRORS,
    Scope,
    close,
    frequencies,
    mechanisms,
    within_errors,
)
from ketformer.quantum.backends.base import Backend
from ketformer.quantum.backends.exact import TorchBackend
from ketformer.quantum.circuit import Angle, Circuit, Gate
from ketformer.quantum.decomposition import decompose
from ketformer.quantum.noise import Noise, noisy_probabilities, read_out, run_noisy
from ketformer.quantum.pauli import PauliStrings, pauli_expectations
from ketformer.quantum.simulate import run
from ketformer.utils.conformance import Check, Finding, MismatchError, findings, same_shape

__all__ = [
    "CONFORMANCE", "STANDARD_ERRORS", "Check", "Factory", "Finding", "MismatchError", "Scope",
    "check_backend",
]  # fmt: skip

#: A class, or a function that takes ``shots``, ``noise`` and ``seed`` by keyword.
Factory = Callable[..., Backend]

_SHOTS = 4000
_NOISE = Noise(one_qubit=0.02, two_qubit=0.05)
_SCOPE = Scope()


def check_backend(
    make: Factory, *, draws: int = 8, max_qubits: int = 4, seed: int = 0
) -> list[Finding]:
    """Run every conformance check on a backend.

    Args:
        make: returns the backend; called with any of ``shots``, ``noise`` and ``seed``.
        draws: number of random circuits in each check that uses them.
        max_qubits: largest number of qubits in a random circuit.
        seed: seed of the circuits, their angles and the shots.

    Returns:
        One finding per check; an error raised by the backend is also a finding.
    """
    return findings(CONFORMANCE, make, Scope(draws, max_qubits, seed))


# --- Exact results -------------------------------------------------------------------------------


def _order_of_qubits(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Qubit 0 is the first letter of a string and the most significant bit of an outcome."""
    circuit, none = Circuit(3).x(0), torch.zeros(0, dtype=torch.float64)
    with make(shots=10, seed=scope.seed) as backend:
        found = backend.expectations(circuit, none, PauliStrings(("ZII", "IZI", "IIZ")))
        yield close("X on qubit 0, <Z>", found, torch.tensor([-1.0, 1, 1]), 0)
        yield close("X on qubit 0", backend.sample(circuit, none), torch.full((10,), 4), 0)


def _states(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Amplitudes agree, including their phase, on which overlaps depend."""
    with make() as backend:
        for circuit in scope.circuits():
            angles = scope.angles(circuit, 2)
            expected = run(circuit, angles).to(torch.complex128)
            found = backend.state(circuit, angles)
            yield close("state", found, expected, backend.tolerance, circuit)


def _probabilities(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    with make() as backend:
        for circuit in scope.circuits():
            angles = scope.angles(circuit, 2)
            expected = run(circuit, angles).abs().square()
            found = backend.probabilities(circuit, angles)
            yield close("probabilities", found, expected, backend.tolerance, circuit)


def _expectations(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    with make() as backend:
        if backend.shots is not None:
            raise SkipTest(f"the backend {backend.name} always draws shots")
        for circuit in scope.circuits():
            angles, strings = scope.angles(circuit, 2), scope.strings(circuit.n_qubits)
            expected = pauli_expectations(run(circuit, angles), strings)
            found = backend.expectations(circuit, angles, strings)
            yield close("expectations", found, expected, backend.tolerance, circuit)


def _names_and_factors(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Angles have factors, names may repeat, and columns are in order of first use."""
    turns = (("b", 1.0), ("a", 0.5), ("b", -2.0), (0.3, 3.0), ("a", 0.0))
    circuit = Circuit(1, tuple(Gate("RY", 0, angle=Angle(*turn)) for turn in turns))
    with make() as backend:
        found = backend.probabilities(circuit, torch.tensor([0.9, 0.4], dtype=torch.float64))
        half = torch.tensor((0.9 + 0.5 * 0.4 - 2 * 0.9 + 3 * 0.3) / 2, dtype=torch.float64)
        expected = torch.stack([half.cos(), half.sin()]).square()
        yield close("turns about one axis", found, expected, backend.tolerance, circuit)


def _batches(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Any leading shape works, even none; equal rows give equal results; float32 is kept."""
    ansatz, strings = entangling_ansatz(2, 1), PauliStrings(("ZI", "XX", "YI"))
    with make(seed=scope.seed) as backend:
        for circuit in (ansatz, Circuit(2).h(0).cnot(0, 1)):
            for batch in ((), (1,), (3,), (2, 3), (2, 1, 2)):
                angles = scope.angles(circuit, *batch)
                expected = run(circuit, angles).abs().square()
                found = backend.probabilities(circuit, angles)
                yield close(f"a batch {batch}", found, expected, backend.tolerance, circuit)
                found = backend.expectations(circuit, angles, strings)
                same_shape("expectations", found, (*batch, 3))
                same_shape("sample", backend.sample(circuit, angles, 4), (*batch, 4))
        angles = scope.angles(ansatz, 3)[[0, 1, 0, 2, 0]]
        found = backend.probabilities(ansatz, angles)
        yield close("equal rows", found[[2, 4]], found[[0, 0]], 0)
        single = backend.probabilities(ansatz, angles.float())
        close("float32 angles", single, found, 1e-5)
        if single.dtype != torch.float32:
            raise MismatchError(f"float32 angles gave results of {single.dtype}")


# --- Noise ---------------------------------------------------------------------------------------


def _readout_noise(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Each bit is misread with the given probability."""
    error, circuit, strings = 0.15, entangling_ansatz(3, 1), scope.strings(3)
    angles = scope.angles(circuit, 2)
    state = run(circuit, angles)
    with make(noise=Noise(readout=error)) as backend:
        found = backend.probabilities(circuit, angles)
        expected = read_out(state.abs().square(), error)
        yield close("misread probabilities", found, expected, backend.tolerance)
        if backend.shots is None:
            weights = [(1 - 2 * error) ** (3 - s.count("I")) for s in strings.strings]
            expected = pauli_expectations(state, strings) * angles.new_tensor(weights)
            found = backend.expectations(circuit, angles, strings)
            yield close("misread expectations", found, expected, backend.tolerance)


def _gate_noise(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """All Pauli errors are equally likely, after each one-qubit gate and each CNOT."""
    circuits = (*scope.drawn(), *mechanisms())
    for noise in (_NOISE, Noise(one_qubit=0.02), Noise(two_qubit=0.05)):
        with make(noise=noise) as backend, TorchBackend(noise=noise) as ours:
            for circuit in circuits if noise is _NOISE else circuits[-3:]:
                angles = scope.angles(circuit, 2)
                strings = PauliStrings(scope.strings(circuit.n_qubits).strings[-3:])
                found = backend.probabilities(circuit, angles)
                expected = noisy_probabilities(run_noisy(decompose(circuit), angles, noise))
                yield close("noisy probabilities", found, expected, backend.tolerance, circuit)
                if backend.shots is None:
                    # The gates that rotate an axis onto Z are noisy as well.
                    found = backend.expectations(circuit, angles, strings)
                    expected = ours.expectations(circuit, angles, strings)
                    yield close("noisy expectations", found, expected, backend.tolerance, circuit)


def _noisy_samples(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    circuit = rotation_ring_ansatz(3, 2)
    angles = scope.angles(circuit, 2)
    for noise in (Noise(readout=0.15), Noise(0.02, 0.05, readout=0.1)):
        mixed = noisy_probabilities(run_noisy(decompose(circuit), angles, noise))
        with make(shots=_SHOTS, noise=noise, seed=scope.seed) as backend:
            found = backend.sample(circuit, angles)
            yield frequencies("misread outcomes", found, read_out(mixed, noise.readout), circuit)


# --- Shots ---------------------------------------------------------------------------------------


def _samples(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Outcomes have the right frequencies, also in any part of the shots."""
    with make(shots=_SHOTS, seed=scope.seed) as backend:
        for circuit in scope.circuits():
            angles = scope.angles(circuit, 2)
            expected = run(circuit, angles).abs().square()
            found = backend.sample(circuit, angles)
            same_shape("sample", found, (2, _SHOTS))
            yield frequencies("outcomes", found, expected, circuit)
            yield frequencies("the first outcomes", found[:, : _SHOTS // 8], expected, circuit)


def _seeds(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """A seed reproduces the outcomes; another seed, another call and equal rows draw anew."""
    for circuit in (Circuit(3).h(0).h(1).ry(2, "a"), Circuit(3).h(0).h(1).h(2)):
        angles = torch.ones(2, len(circuit.parameters), dtype=torch.float64)
        calls = []
        for seed in (scope.seed, scope.seed, scope.seed + 1):
            with make(shots=60, seed=seed) as backend:
                calls.append([backend.sample(circuit, angles) for _ in range(2)])
        (first, then), (again, _), (other, _) = calls
        yield close("outcomes of the same seed", again, first, 0)
        others = {"two calls": then, "two seeds": other, "equal rows": first.flip(0)}
        if same := [what for what, outcomes in others.items() if torch.equal(outcomes, first)]:
            raise MismatchError(f"{', '.join(same)}: the same outcomes were drawn")


def _shots(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Expectations are means of outcomes: unbiased, with the variance of that many shots."""
    circuit, strings = entangling_ansatz(2, 1), PauliStrings(("ZI", "XY", "YZ", "IX"))
    shots, calls, angles = 50, 60, scope.angles(circuit, 2)
    exact = pauli_expectations(run(circuit, angles), strings)
    with make(shots=shots, seed=scope.seed) as backend:
        found = torch.stack([backend.expectations(circuit, angles, strings) for _ in range(calls)])
    close("50 shots", found, (found * shots / 2).round() * 2 / shots, 1e-6)
    variance = (1 - exact**2) / shots
    bias = (found.mean(0) - exact).abs() / (variance / calls).sqrt()
    spread = (found.var(0) / variance - 1).abs() / math.sqrt(2 / (calls - 1))
    yield within_errors("the mean of estimates", float(bias.max()), circuit)
    yield within_errors("the variance of estimates", float(spread.max()), circuit)


def _mistakes(make: Factory, scope: Scope = _SCOPE) -> Iterator[float]:
    """Invalid calls are refused with a ``ValueError``."""
    circuit, zz = Circuit(2).ry(0, "a").ry(1, "b"), PauliStrings(("ZZ",))
    right, wrong = torch.zeros(3, 2), torch.zeros(3, 1)
    with make(shots=10, seed=scope.seed) as backend:
        refused: dict[str, Callable[[], object]] = {
            "a state with too few angles": lambda: backend.state(circuit, wrong),
            "probabilities with too few angles": lambda: backend.probabilities(circuit, wrong),
            "expectations with too few angles": lambda: backend.expectations(circuit, wrong, zz),
            "a sample with too few angles": lambda: backend.sample(circuit, wrong),
            "angles without parameters": lambda: backend.sample(Circuit(1), wrong),
            "wrong strings": lambda: backend.expectations(circuit, right, PauliStrings(("Z",))),
            "a sample with negative shots": lambda: backend.sample(circuit, right, -1),
            "no shots": lambda: make(shots=0),
            "a noisy state": lambda: make(noise=_NOISE).state(circuit, right),
        }
        for what, call in refused.items():
            try:
                call()
            except ValueError:
                continue
            raise MismatchError(f"{what}: not refused")
    yield 0.0


#: Every check; each takes a factory.
CONFORMANCE: tuple[Check, ...] = tuple(
    Check(body.__name__.strip("_"), body)
    for body in (
        _order_of_qubits, _states, _probabilities, _expectations, _names_and_factors, _batches,
        _readout_noise, _gate_noise, _noisy_samples,
        _samples, _seeds, _shots, _mistakes,
    )
)  # fmt: skip
