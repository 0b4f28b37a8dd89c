"""Every backend passes the conformance suite, and a broken one fails it."""

import sys
from dataclasses import replace
from unittest import SkipTest

import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.quantum import Angle, Circuit, Noise, backends
from ketformer.quantum.backends import BACKENDS, Backend, backend_class
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends._trials import frequencies
from ketformer.quantum.backends.conformance import CONFORMANCE, MismatchError, Scope, check_backend
from ketformer.quantum.backends.exact import TorchBackend
from ketformer.quantum.gates import GATES

PACKAGES = {
    "braket": "the Amazon Braket SDK",
    "cudaq": "CUDA-Q",
    "pennylane": "PennyLane",
    "qiskit": "Qiskit",
}


CHECKS = {check.name: check for check in CONFORMANCE}


@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_does_what_it_must(name, check):
    if name == "cudaq" and sys.platform != "linux":
        pytest.skip("CUDA-Q has no wheels but for Linux")
    if (name, check.name) == ("shots", "expectations"):
        with pytest.raises(SkipTest, match="the backend shots always draws shots"):
            check(backend_class(name))
    else:
        # Braket reads each circuit from text, row by row, and CUDA-Q compiles each anew.
        draws = {"braket": 1, "cudaq": 2}.get(name, 6)
        check(backend_class(name), Scope(draws=draws, max_qubits=3))


def test_findings_of_a_good_backend():
    findings = check_backend(TorchBackend, draws=3, seed=5)
    assert [f.name for f in findings] == [*CHECKS]
    assert {(f.outcome, f.ok, f.message) for f in findings} == {("passed", True, "")}
    largest = {f.name: f.largest for f in findings}
    assert 0 < largest["expectations"] < 1e-14
    assert 1 < largest["samples"] < 5


class ToyBackend(TorchBackend):
    """Our simulator, run on modified circuits and angles."""

    name = "toy"

    def change(self, circuit):
        return circuit

    def reorder(self, circuit, rows):
        return rows

    def _states(self, circuit, rows):
        return super()._states(self.change(circuit), self.reorder(circuit, rows))

    def _distributions(self, circuit, rows):
        return super()._distributions(self.change(circuit), self.reorder(circuit, rows))

    def _expectations(self, circuit, rows, strings):
        rows = self.reorder(circuit, rows)
        return super()._expectations(self.change(circuit), rows, strings)


def with_gates(circuit, change):
    return Circuit(circuit.n_qubits, tuple(change(gate) for gate in circuit.gates))


class QubitsReversed(ToyBackend):
    def change(self, circuit):
        n = circuit.n_qubits
        return Circuit(n).then(circuit, reversed(range(n)))


class FactorIgnored(ToyBackend):
    def change(self, circuit):
        def plain(gate):
            return replace(gate, angle=gate.angle and replace(gate.angle, factor=1.0))

        return with_gates(circuit, plain)


class FixedAnglesIgnored(ToyBackend):
    def change(self, circuit):
        def no_angle(gate):
            fixed = gate.angle is not None and not gate.angle.is_parameter
            return replace(gate, angle=Angle(0.0)) if fixed else gate

        return with_gates(circuit, no_angle)


class SecondControlIgnored(ToyBackend):
    def change(self, circuit):
        return with_gates(circuit, lambda gate: replace(gate, controls=gate.controls[:1]))


class RotationsTheOtherWay(ToyBackend):
    def change(self, circuit):
        def back(gate):
            return replace(gate, angle=gate.angle.times(-1)) if gate.name == "RZ" else gate

        return with_gates(circuit, back)


class ColumnsByName(ToyBackend):
    def reorder(self, circuit, rows):
        by_name = sorted(circuit.parameters)
        return rows[:, [by_name.index(name) for name in circuit.parameters]]


class PhaseLost(ToyBackend):
    def _states(self, circuit, rows):
        return super()._states(circuit, rows) * 1j


class SinglePrecision(ToyBackend):
    def _states(self, circuit, rows):
        return super()._states(circuit, rows.float())

    def _distributions(self, circuit, rows):
        return super()._distributions(circuit, rows.float()).double()


class TwoDimensionsOnly(ToyBackend):
    def probabilities(self, circuit, angles):
        return super().probabilities(circuit, angles).reshape(-1, 2**circuit.n_qubits)


class BiasedSampling(ToyBackend):
    def _outcomes(self, circuit, rows, shots, seed):
        outcomes = super()._outcomes(circuit, rows, shots, seed)
        lost = torch.rand(outcomes.shape, generator=torch.Generator().manual_seed(seed)) < 0.1
        return outcomes.masked_fill(lost, 0)


class SortedSamples(ToyBackend):
    def _outcomes(self, circuit, rows, shots, seed):
        return super()._outcomes(circuit, rows, shots, seed).sort(dim=-1).values


class OneSeed(ToyBackend):
    def _outcomes(self, circuit, rows, shots, seed):
        return super()._outcomes(circuit, rows, shots, 7)


class NoSeed(ToyBackend):
    def _outcomes(self, circuit, rows, shots, seed):
        return super()._outcomes(circuit, rows, shots, torch.seed() % 2**31)


class EqualRowsTogether(ToyBackend):
    def _outcomes(self, circuit, rows, shots, seed):
        return super()._outcomes(circuit, rows[:1], shots, seed).expand(len(rows), -1)


class ExactInsteadOfShots(ToyBackend):
    def expectations(self, circuit, angles, strings):
        return TorchBackend().expectations(circuit, angles, strings)


class NoiseIgnored(ToyBackend):
    def _prepared(self, circuit):
        return circuit

    def _distributions(self, circuit, rows):
        return TorchBackend()._distributions(circuit, rows)


class NoiseMixedIn(ToyBackend):
    """Mistakes the probability of an error for the share of the maximally mixed state."""

    def _distributions(self, circuit, rows):
        noise = Noise(self.noise.one_qubit * 3 / 4, self.noise.two_qubit * 15 / 16)
        return TorchBackend(noise=noise)._distributions(circuit, rows)


class ErrorsCancelled(ToyBackend):
    """Drops gates that cancel, and their errors with them."""

    def _prepared(self, circuit):
        gates = []
        for gate in super()._prepared(circuit).gates:
            if gates and gate == gates[-1] and gate.angle is None:
                gates.pop()
            else:
                gates.append(gate)
        return Circuit(circuit.n_qubits, tuple(gates))


class ReadoutIgnored(ToyBackend):
    def __init__(self, *, noise=None, **options):
        super().__init__(noise=noise and replace(noise, readout=0.0), **options)


class AnythingGoes(ToyBackend):
    def _flat(self, circuit, angles):
        return angles.reshape(len(angles), -1)[:, : len(circuit.parameters)].double()


@pytest.mark.parametrize(
    ("broken", "checks"),
    [
        (QubitsReversed, "order_of_qubits states probabilities expectations samples gate_noise"),
        (FactorIgnored, "names_and_factors states probabilities expectations samples"),
        (FixedAnglesIgnored, "names_and_factors states probabilities expectations samples"),
        (SecondControlIgnored, "states probabilities expectations samples"),
        (RotationsTheOtherWay, "states probabilities expectations samples"),
        (ColumnsByName, "names_and_factors"),
        (PhaseLost, "states"),
        (SinglePrecision, "states probabilities"),
        (TwoDimensionsOnly, "batches"),
        (BiasedSampling, "order_of_qubits samples noisy_samples shots"),
        (SortedSamples, "samples"),
        (OneSeed, "seeds shots"),
        (NoSeed, "seeds"),
        (EqualRowsTogether, "seeds samples"),
        (ExactInsteadOfShots, "shots"),
        (NoiseIgnored, "gate_noise noisy_samples"),
        (NoiseMixedIn, "gate_noise"),
        (ErrorsCancelled, "gate_noise"),
        (ReadoutIgnored, "readout_noise noisy_samples"),
        (AnythingGoes, "mistakes"),
    ],
)
def test_a_broken_backend_fails(broken, checks):
    for name in checks.split():
        with pytest.raises(MismatchError):
            CHECKS[name](broken)


def test_a_failure_says_what_and_by_how_much():
    (finding,) = (f for f in check_backend(PhaseLost) if not f.ok)
    assert (finding.name, finding.outcome) == ("states", "failed")
    assert finding.largest > 0.5
    assert finding.message.startswith("state: off by ")
    assert "1e-10 allowed; of " in finding.message
    with pytest.raises(MismatchError, match="standard errors, 5 allowed; of "):
        CHECKS["samples"](BiasedSampling)


def test_errors_of_a_backend_are_findings():
    class Crashing(ToyBackend):
        def _states(self, circuit, rows):
            raise RuntimeError("out of memory")

    finding = next(f for f in check_backend(Crashing, draws=1) if f.name == "states")
    assert (finding.outcome, finding.message) == ("failed", "RuntimeError: out of memory")


def test_what_a_backend_cannot_do_is_not_a_failure():
    class SamplesOnly(Backend):
        name = "samples only"

        def _outcomes(self, circuit, rows, shots, seed):
            return TorchBackend()._outcomes(circuit, rows, shots, seed)

    outcomes = {f.name: f.outcome for f in check_backend(SamplesOnly)}
    passed = {name for name, outcome in outcomes.items() if outcome == "passed"}
    assert passed == {"order_of_qubits", "samples", "seeds", "shots", "mistakes"}
    assert outcomes["states"] == outcomes["expectations"] == "not offered"
    # It accepts noise on gates but ignores it.
    assert outcomes["noisy_samples"] == "failed"


def test_fair_samples_stay_within_the_allowance():
    generator = torch.Generator().manual_seed(0)
    worst = []
    for shots in (5, 100, 4000):
        weights = torch.rand(300, 16, generator=generator, dtype=torch.float64) ** 8
        probabilities = weights / weights.sum(-1, keepdim=True)
        drawn = torch.multinomial(probabilities, shots, replacement=True, generator=generator)
        worst.append(frequencies("fair", drawn, probabilities))
    assert max(worst) < 4.5
    assert min(worst) > 2


def test_impossible_outcomes_are_found():
    certain = torch.tensor([[1.0, 0.0]])
    with pytest.raises(MismatchError, match="an impossible outcome occurred"):
        frequencies("drawn", torch.tensor([[0] * 999 + [1]]), certain)
    with pytest.raises(MismatchError, match=r"outside 0\.\.1"):
        frequencies("drawn", torch.tensor([[0, 2]]), certain)


def test_scopes_cover_what_circuits_can_hold():
    drawn = [*Scope(draws=400).drawn()]
    gates = [gate for circuit in drawn for gate in circuit.gates]
    assert {(g.name, len(g.controls)) for g in gates} == {
        (name, n) for name in GATES for n in (0, 1, 2)
    }
    assert {circuit.n_qubits for circuit in drawn} == {1, 2, 3, 4}
    assert any(len(c.parameters) < sum(bool(g.angle) for g in c.gates) for c in drawn)
    assert {g.angle.offset for g in gates if g.angle} == {0, 1.2}
    assert drawn == [*Scope(draws=400).drawn()]
    assert drawn != [*Scope(draws=400, seed=1).drawn()]


@pytest.mark.parametrize(("name", "title"), PACKAGES.items())
def test_a_missing_package_is_one_clear_line(monkeypatch, name, title):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(KetformerError) as error:
        backend_class(name)()
    remedy = f"the backend {name} needs {title}: pip install 'ketformer[{name}]'"
    assert str(error.value) == remedy


def test_a_broken_package_says_why(monkeypatch, tmp_path):
    (tmp_path / "half_installed.py").write_text("import a_module_that_is_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KetformerError, match="cannot be imported: No module named 'a_module_that"):
        require_package("half_installed", "qiskit")


@pytest.mark.parametrize("name", PACKAGES)
def test_backends_are_found_without_their_packages(monkeypatch, name):
    module = backend_class(name).__module__
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(backends, name, sys.modules[module])  # restored afterwards
    monkeypatch.delitem(sys.modules, module)
    assert backend_class(name).name == name
    assert sys.modules[module] is getattr(backends, name)
