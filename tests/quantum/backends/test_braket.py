"""What is specific to Amazon Braket: its dialect, and the devices of AWS."""

import logging
import warnings
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import braket.aws
import numpy as np
import pytest
import torch
from braket.devices import Device, LocalSimulator
from braket.ir.openqasm import Program

from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    Noise,
    PauliStrings,
    apply,
    hadamard_test,
    rotation_ring_ansatz,
    run,
    zero_state,
)
from ketformer.quantum.backends import braket as module
from ketformer.quantum.backends._trials import Scope, frequencies
from ketformer.quantum.backends.braket import BraketBackend
from ketformer.quantum.backends.conformance import CONFORMANCE
from ketformer.quantum.circuit import Angle, Gate
from ketformer.quantum.qasm import to_qasm

from ..helpers import random_angles

ARN = "arn:aws:braket:us-east-1::device/qpu/ionq/Forte-1"
# RY by π and a CNOT: always 3.
SURE = Circuit(2).ry(0, "a").cnot(0, 1)
HALF_TURN = torch.full((1, 1), torch.pi, dtype=torch.float64)


class Aws(Device):
    """A device of AWS as its SDK shows it: tasks run on a local simulator, in native words only."""

    failure = None

    def __init__(self, arn=ARN):
        super().__init__(name="Forte 1", status="ONLINE")
        self.arn = arn
        self.programs = []
        service = SimpleNamespace(
            shotsRange=(1, 40), updatedAt=datetime(2026, 11, 3, 4, 5, tzinfo=UTC)
        )
        paradigm = SimpleNamespace(nativeGateSet=["GPI", "GPI2", "ZZ"])
        self._properties = SimpleNamespace(service=service, paradigm=paradigm)

    @property
    def properties(self):
        return self._properties

    def run(self, *_, **__):
        raise AssertionError("tasks go to AWS in batches")

    def run_batch(self, programs, shots):
        if self.failure:
            raise self.failure
        assert shots <= 40
        assert not any("ctrl" in program.source for program in programs)
        self.programs += [program.source for program in programs]
        tasks = [LocalSimulator("braket_sv").run(program, shots=shots) for program in programs]
        return SimpleNamespace(
            tasks=tasks, results=lambda fail_unsuccessful: [task.result() for task in tasks]
        )


def test_brakets_dialect_has_its_own_words():
    circuit = Circuit(3).h(0).cnot(0, 1).ry(2, "a")
    circuit = Circuit(3, (*circuit.gates, Gate("X", 2, (0, 1)), Gate("RX", 1, (0,), Angle(0.5))))
    text = to_qasm(circuit, [0.25], dialect="braket")
    assert "include" not in text
    assert text.splitlines()[-5:] == [
        "h q[0];",
        "cnot q[0], q[1];",
        "ry(0.25) q[2];",
        "ccnot q[0], q[1], q[2];",
        "ctrl @ rx(0.5) q[0], q[1];",
    ]


def test_brakets_dialect_has_every_gate():
    circuit = Circuit(3).h(0).h(1).h(2).s(0).sdg(1).t(2).tdg(0).sx(1).sxdg(2).p(0, 0.3)
    circuit = circuit.u(1, 0.4, 0.5, 0.6).cz(0, 1).swap(1, 2).rxx(0, 1, 0.7).ryy(1, 2, 0.8)
    circuit = circuit.rzz(0, 2, 0.9).crx(0, 1, 1.0).cry(1, 2, 1.1).crz(2, 0, 1.2)
    more = Gate("P", 2, (0,), Angle(0.2)), Gate("SWAP", 1, (0,), second=2), Gate("SX", 0, (2, 1))
    circuit = Circuit(3, (*circuit.gates, *more))
    text = f"{to_qasm(circuit, dialect='braket')}#pragma braket result state_vector\n"
    program = Program(source=text)
    found = LocalSimulator("braket_sv").run(program, shots=0).result().values[0]
    expected = apply(circuit, zero_state(3, torch.complex128)).numpy()
    assert abs(np.vdot(found, expected)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("check", ["probabilities", "expectations", "noisy_samples"])
def test_the_density_matrix_simulator_conforms(check):
    (chosen,) = (c for c in CONFORMANCE if c.name == check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen(partial(BraketBackend, device="braket_dm"), Scope(draws=1, max_qubits=3))


def test_a_device_of_aws_gives_the_circuits_outcomes():
    circuit = hadamard_test(rotation_ring_ansatz(2, 1), rotation_ring_ansatz(2, 1))
    angles = random_angles(circuit, 2)
    device = Aws()
    with BraketBackend(device=device, shots=400) as backend:
        frequencies("AWS", backend.sample(circuit, angles), run(circuit, angles).square(), circuit)
    assert len(device.programs) == 20


def test_tasks_keep_within_the_devices_shots_and_are_listed(monkeypatch):
    monkeypatch.setattr(module, "_TASKS", 2)
    device = Aws()
    angles = torch.tensor([[0.0], [torch.pi], [0.0]], dtype=torch.float64)
    with BraketBackend(device=device, shots=50) as backend:
        assert backend.sample(SURE, angles).tolist() == [[0] * 50, [3] * 50, [0] * 50]
        said = backend.provenance()
    assert len(said["job_ids"]) == len(set(said["job_ids"])) == 6
    assert said["device"] == "Forte 1"
    assert said["calibration_date"] == "2026-11-03T04:05:00+00:00"
    assert said["native_gates"] == ["GPI", "GPI2", "ZZ"]


def test_idle_qubits_are_measured():
    with BraketBackend(device=Aws(), shots=3) as backend:
        assert backend.sample(Circuit(3).x(1), torch.zeros(1, 0)).tolist() == [[2] * 3]
    with BraketBackend() as backend:
        assert backend.probabilities(Circuit(2).x(1), torch.zeros(0)).tolist() == [0, 1, 0, 0]


def test_an_angle_that_the_rewriting_removes():
    """Of a rotation by an angle times zero, nothing need be left to bind."""
    circuit = Circuit(2).ry(0, "a").ry(1, "b").cnot(0, 1)
    angles = torch.tensor([[torch.pi, 0.0]], dtype=torch.float64)
    with BraketBackend(device=Aws(), shots=3) as backend:
        assert backend.sample(circuit, angles).tolist() == [[3] * 3]


def test_an_arn_opens_a_device(monkeypatch):
    monkeypatch.setattr(braket.aws, "AwsDevice", Aws)
    with BraketBackend(device=ARN, shots=5) as backend:
        assert backend.device.arn == ARN
        assert (backend.sample(SURE, HALF_TURN) == 3).all()


def test_what_aws_refuses_is_one_clear_line(monkeypatch):
    def refuse(arn):
        raise RuntimeError("Unable to locate credentials\nsee …")

    monkeypatch.setattr(braket.aws, "AwsDevice", refuse)
    with pytest.raises(KetformerError) as caught:
        BraketBackend(device=ARN)
    assert str(caught.value) == (
        f"the Braket device {ARN}: Unable to locate credentials; "
        "`aws configure` sets up credentials and a region"
    )
    monkeypatch.setattr(Aws, "failure", RuntimeError("the device is retired\n"))
    with (
        BraketBackend(device=Aws(), shots=5) as backend,
        pytest.raises(KetformerError, match=r"^Forte 1: the device is retired$"),
    ):
        backend.sample(SURE, HALF_TURN)


def test_an_unknown_device_is_one_clear_line():
    for wrong, told in (
        ("ionq", r"^no Braket device 'ionq'; known: braket_sv, braket_dm, or the ARN of a device"),
        (3, r"^a Braket device is a local simulator's name, an ARN, or .*; got 3$"),
    ):
        with pytest.raises(KetformerError, match=told):
            BraketBackend(device=wrong)


def test_what_a_device_cannot_is_said():
    zz = PauliStrings(("ZZ",))
    with pytest.raises(KetformerError, match="cannot give exact results on Forte 1; set shots"):
        BraketBackend(device=Aws()).expectations(SURE, HALF_TURN, zz)
    with pytest.raises(KetformerError, match="cannot add noise to Forte 1, which has its own"):
        BraketBackend(device=Aws(), noise=Noise(readout=0.1))
    with pytest.raises(KetformerError, match="to gates on braket_sv; braket_dm can"):
        BraketBackend(device="braket_sv", noise=Noise(0.1))


def test_the_local_simulator_does_not_warn_of_other_devices(caplog):
    circuit = Circuit(2, (Gate("RX", 1, (0,), Angle(0.5)),))
    with caplog.at_level(logging.WARNING), BraketBackend() as backend:
        backend.probabilities(circuit, torch.zeros(0))
    assert not caplog.records
