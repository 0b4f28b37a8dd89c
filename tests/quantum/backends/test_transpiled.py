"""Counts on a device, compared with numbers worked out by hand from its calibration."""

import pytest
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import CZGate, RZGate, SXGate, XGate
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import InstructionProperties, Target

from ketformer.circuits import circuits_of
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit
from ketformer.quantum.backends.devices import find_device
from ketformer.quantum.backends.transpiled import Transpiler


class Line(BackendV2):
    """Qubits in a line, with the same calibration for all, or none."""

    def __init__(self, n_qubits, calibrated=True):
        super().__init__(name="line")
        qubits = [(q,) for q in range(n_qubits)]
        pairs = [pair for q in range(n_qubits - 1) for pair in ((q, q + 1), (q + 1, q))]
        target = Target(num_qubits=n_qubits)
        for gate, places, duration, error in (
            (SXGate(), qubits, 40e-9, 0.001),
            (XGate(), qubits, 40e-9, 0.001),
            (RZGate(Parameter("t")), qubits, 0.0, 0.0),
            (CZGate(), pairs, 100e-9, 0.01),
            (Measure(), qubits, 1e-6, 0.02),
        ):
            known = InstructionProperties(duration, error) if calibrated else None
            target.add_instruction(gate, dict.fromkeys(places, known))
        self._target = target

    target = property(lambda self: self._target)
    max_circuits = None

    @classmethod
    def _default_options(cls):
        return Options()

    def run(self, run_input, **options):
        raise NotImplementedError


def test_duration_and_fidelity_are_the_calibrations():
    """CZ between two Hadamard gates, each RZ SX RZ, and one on the control.

    Qiskit drops the last RZ, which no measurement sees.
    """
    counts = Transpiler(Line(2)).count(Circuit(2).h(0).cnot(0, 1), [0, 1])
    assert (counts.n_qubits, counts.two_qubit_gates) == (2, 1)
    # SX on both qubits at once, CZ, SX, measurement.
    assert counts.duration_us == pytest.approx(0.04 + 0.1 + 0.04 + 1)
    assert counts.fidelity == pytest.approx(0.999**3 * 0.99 * 0.98**2)
    assert counts.depth == 6
    assert counts.one_qubit_gates == 8
    assert counts.gates == 9


def test_only_what_is_measured_can_be_misread():
    counts = Transpiler(Line(2)).count(Circuit(2).h(0).cnot(0, 1), [1])
    assert counts.fidelity == pytest.approx(0.999**3 * 0.99 * 0.98)


def test_swaps_are_counted_where_qubits_are_not_coupled():
    triangle = Circuit(3).h(0).cnot(0, 1).cnot(1, 2).cnot(0, 2)
    counts = Transpiler(Line(3)).count(triangle, [0, 1, 2])
    assert counts.two_qubit_gates > 3


def test_a_device_without_a_calibration_has_counts_only():
    counts = Transpiler(Line(2, calibrated=False)).count(Circuit(2).cnot(0, 1), [1])
    assert counts.two_qubit_gates == 1
    assert counts.duration_us is None
    assert counts.fidelity is None


def test_the_pause_between_shots_is_the_devices():
    assert Transpiler(Line(1)).repetition_delay_us is None
    assert Transpiler(find_device("fake_manila")).repetition_delay_us == pytest.approx(250)


def test_angles_do_not_change_the_counts_so_a_circuit_is_transpiled_once(monkeypatch):
    transpiler = Transpiler(Line(2))
    run, calls = transpiler._passes.run, []
    monkeypatch.setattr(transpiler._passes, "run", lambda c: calls.append(c) or run(c))
    for _ in range(2):
        first = transpiler.count(Circuit(2).ry(0, "a").cnot(0, 1), [1])
    other = transpiler.count(Circuit(2).ry(0, "a").cnot(0, 1), [0, 1])
    assert len(calls) == 2
    assert first.two_qubit_gates == other.two_qubit_gates == 1
    assert [str(p) for p in calls[0].parameters] == ["a"]


def test_a_value_on_a_device_of_today():
    """14 CNOTs prepare 16 amplitudes and a ring takes 4; by hand 45 gates CZ and depth 151."""
    circuit = circuits_of("qisa_a", hidden_size=16)["value"].circuit
    torino = find_device("fake_torino")
    found = [
        Transpiler(torino, optimization_level=3, seed=seed).count(circuit, range(4))
        for seed in range(2)
    ]
    for counts in found:
        assert 18 < counts.two_qubit_gates <= 60
        assert counts.depth > 100
        # 14 gates at least one after the other on two qubits, and 1.56 µs for the measurement
        assert 3 < counts.duration_us < 10
        assert 0.5 < counts.fidelity < 0.95


def test_mistakes():
    with pytest.raises(KetformerError, match="line has 2 qubits, the circuit needs 3"):
        Transpiler(Line(2)).count(Circuit(3).h(2), [2])
    with pytest.raises(KetformerError, match="optimization_level must be 0 to 3, got 4"):
        Transpiler(Line(2), optimization_level=4)
