"""What is specific to PennyLane: its devices, batches and adjoint derivative."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.quantum import (
    Circuit,
    Noise,
    PauliStrings,
    entangling_ansatz,
    hadamard_test,
    pauli_expectations,
    rotation_ring_ansatz,
    run,
)
from ketformer.quantum.backends import open_backend, pennylane as module
from ketformer.quantum.backends.conformance import check_backend
from ketformer.quantum.backends.pennylane import PennyLaneBackend

from ..helpers import assert_equal_to, circuits, pauli_strings, random_angles, seeds

EXACT = 1e-10
DERIVATIVE = 1e-8


def test_another_device_conforms():
    make = partial(PennyLaneBackend, device="lightning.qubit")
    findings = {f.name: f for f in check_backend(make, draws=3)}
    # The device has no channels, so noise on gates is refused.
    for name in ("gate_noise", "noisy_samples"):
        message = findings.pop(name).message
        assert message.startswith("KetformerError: the PennyLane device lightning.qubit: ")
        assert "\n" not in message
    assert {f.outcome for f in findings.values()} == {"passed"}, findings


def test_a_device_takes_its_constructors_arguments():
    z, angles = PauliStrings(("Z",)), torch.tensor([0.3], dtype=torch.float64)
    single = {"device": "lightning.qubit", "device_options": {"c_dtype": np.complex64}}
    with PennyLaneBackend(**single) as backend:
        error = float(backend.expectations(Circuit(1).ry(0, "a"), angles, z)) - math.cos(0.3)
    assert 1e-12 < abs(error) < 1e-6


def test_wrong_constructors_arguments_are_one_clear_line():
    told = "^device_options of the backend pennylane is a mapping of names to values, got 3$"
    with pytest.raises(KetformerError, match=told):
        PennyLaneBackend(device_options=3)
    told = r"^the PennyLane device default.mixed: .*unexpected keyword argument 'flips'$"
    with pytest.raises(KetformerError, match=told):
        PennyLaneBackend(device="default.mixed", device_options={"flips": 0.1})
    # Accepted by PennyLane 0.45, which then stumbles over it.
    told = r"^the PennyLane device default.mixed: [^\n]+$"
    late = {"device": "default.mixed", "device_options": {"readout_prob": "often"}}
    with pytest.raises(KetformerError, match=told):
        PennyLaneBackend(**late).probabilities(Circuit(1).x(0), torch.zeros(0))


def test_entries_of_an_option_may_come_one_by_one():
    entries = {"device_options:batch_obs": True, "device_options:c_dtype": np.complex64}
    with open_backend("pennylane", device="lightning.qubit", **entries) as backend:
        named = backend.provenance()["device"]
    assert named.startswith("lightning.qubit, batch_obs=True, c_dtype=")


def test_an_unknown_device_is_one_clear_line():
    with pytest.raises(KetformerError, match=r"^the PennyLane device no\.such: [^\n]+$"):
        PennyLaneBackend(device="no.such")


def test_noise_takes_the_mixed_simulator():
    assert PennyLaneBackend().device == "default.qubit"
    assert PennyLaneBackend(noise=Noise(readout=0.1)).device == "default.qubit"
    assert PennyLaneBackend(noise=Noise(two_qubit=0.1)).device == "default.mixed"


def test_a_mixed_state_is_not_shown():
    with pytest.raises(KetformerError, match=r"cannot show a state on default\.mixed"):
        PennyLaneBackend(device="default.mixed").state(Circuit(1).ry(0, "a"), torch.zeros(2, 1))


def test_parts_of_a_batch_make_the_whole(monkeypatch):
    circuit, strings = entangling_ansatz(3, 1), PauliStrings(("ZZI", "XYZ"))
    angles = random_angles(circuit, 11)
    calls = []
    whole = PennyLaneBackend().expectations(circuit, angles, strings)
    execute = PennyLaneBackend._execute

    def counted(self, device, circuit, rows, *rest, **options):
        calls.append(len(rows))
        return execute(self, device, circuit, rows, *rest, **options)

    monkeypatch.setattr(PennyLaneBackend, "_execute", counted)
    monkeypatch.setattr(module, "_CHUNK", 4 * 2**3)
    parts = PennyLaneBackend().expectations(circuit, angles, strings)
    assert calls == [4, 4, 3]
    assert_equal_to(EXACT, parts, whole)
    calls.clear()
    assert PennyLaneBackend(shots=5, seed=0).sample(circuit, angles).shape == (11, 5)
    assert sum(calls) == 11
    assert max(calls) < 11


@settings(max_examples=25, deadline=None)
@given(
    circuits(max_qubits=3, max_gates=8).flatmap(
        lambda c: st.tuples(st.just(c), pauli_strings(c.n_qubits))
    ),
    seeds,
)
def test_adjoint_derivatives_are_those_of_autograd(drawn, seed):
    circuit, strings = drawn[0], PauliStrings(drawn[1])
    angles = random_angles(circuit, 2, seed=seed)
    jacobian = PennyLaneBackend().adjoint(circuit, angles, strings)
    assert jacobian.shape == (2, len(strings), len(circuit.parameters))
    assert_equal_to(DERIVATIVE, jacobian, autograd(circuit, angles, strings))


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
def test_adjoint_derivatives_of_a_mechanism(device):
    # Names occur in several gates, with factors 1/2 and -1/2.
    circuit = hadamard_test(rotation_ring_ansatz(3, 2), rotation_ring_ansatz(3, 2))
    strings = PauliStrings(("IIIZ", "XIYZ"))
    angles = random_angles(circuit, 2, 3)
    with PennyLaneBackend(device=device) as backend:
        jacobian = backend.adjoint(circuit, angles, strings)
        assert backend.circuits_run == 6
    assert jacobian.shape == (2, 3, 2, len(circuit.parameters))
    flat = autograd(circuit, angles.flatten(0, 1), strings)
    assert_equal_to(DERIVATIVE, jacobian.flatten(0, 1), flat)


def test_adjoint_keeps_the_dtype_and_takes_no_angles():
    circuit, strings = Circuit(1).ry(0, "a"), PauliStrings(("Z",))
    jacobian = PennyLaneBackend().adjoint(circuit, torch.tensor([0.3]), strings)
    assert jacobian.dtype == torch.float32
    assert_equal_to(1e-6, jacobian, -torch.tensor([[0.3]]).sin())
    none = PennyLaneBackend().adjoint(Circuit(1).h(0), torch.zeros(1, 0), strings)
    assert none.shape == (1, 1, 0)


def test_adjoint_is_refused_where_it_does_not_exist():
    circuit, strings = Circuit(1).ry(0, "a"), PauliStrings(("Z",))
    with pytest.raises(KetformerError, match="cannot differentiate a noisy circuit"):
        PennyLaneBackend(noise=Noise(0.1)).adjoint(circuit, torch.zeros(1), strings)
    with pytest.raises(KetformerError, match=r"adjoint method on default\.mixed"):
        PennyLaneBackend(device="default.mixed").adjoint(circuit, torch.zeros(1), strings)


def autograd(circuit, rows, strings):
    """The same derivatives, ``[N, S, P]``, from our own simulator."""

    def expectations(row):
        return pauli_expectations(run(circuit, row), strings)

    return torch.stack([torch.autograd.functional.jacobian(expectations, row) for row in rows])
