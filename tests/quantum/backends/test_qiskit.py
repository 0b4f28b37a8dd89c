"""What is specific to Qiskit: its circuits, Aer's methods and noise, and devices."""

from functools import partial

import pytest
import qiskit.quantum_info as qi
import torch
from hypothesis import given, settings
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, pauli_error

from ketformer.errors import KetformerError
from ketformer.quantum import (
    Angle,
    Circuit,
    Gate,
    Noise,
    PauliStrings,
    decompose,
    entangling_ansatz,
    hadamard_test,
    rotation_ring_ansatz,
    run,
    unitary,
)
from ketformer.quantum.backends import base, qiskit as module
from ketformer.quantum.backends._trials import frequencies
from ketformer.quantum.backends.conformance import MismatchError, check_backend
from ketformer.quantum.backends.qiskit import QiskitBackend, to_qiskit

from ..helpers import assert_equal_to, circuits, random_angles, seeds

# Aer warns that it has no decay times for the simulated devices.
pytestmark = pytest.mark.filterwarnings("ignore:Qiskit backend:UserWarning")

EXACT = 1e-10
ONE_QUBIT = ["rx", "ry", "rz", "h", "x", "y", "z"]


@settings(max_examples=40, deadline=None)
@given(circuits(max_qubits=4), seeds)
def test_circuits_are_translated_gate_by_gate(circuit, seed):
    angles = random_angles(circuit, seed=seed)
    translated = to_qiskit(circuit)
    assert len(translated.data) == len(circuit.gates)
    for ours, theirs in zip(circuit.gates, translated.data, strict=True):
        assert tuple(translated.find_bit(q).index for q in theirs.qubits) == ours.qubits
    values = dict(zip(circuit.parameters, angles.tolist(), strict=True))
    bound = translated.assign_parameters(
        {k: v for k, v in values.items() if k in names(translated)}
    )
    # Qiskit has qubit 0 at the least significant bit.
    matrix = torch.from_numpy(qi.Operator(bound.reverse_bits()).data)
    assert_equal_to(1e-12, unitary(circuit, angles).to(torch.complex128), matrix)


def test_named_angles_become_parameters():
    gates = (Gate("RY", 0, angle=Angle("t10")), Gate("RZ", 1, (0,), Angle("t9", -0.5)))
    translated = to_qiskit(Circuit(2, gates))
    assert names(translated) == {"t10", "t9"}
    assert [str(i.operation.params[0]) for i in translated.data] == ["t10", "(-0.5)*t9"]


@pytest.mark.parametrize("method", ["automatic", "matrix_product_state", "density_matrix"])
def test_aers_methods_conform(method):
    findings = {f.name: f for f in check_backend(partial(QiskitBackend, device=method), draws=3)}
    density = method == "density_matrix"
    lacking = ["states"] if density else ["gate_noise"]
    for name in lacking:
        assert findings[name].outcome == "not offered"
        assert method in findings[name].message
    others = [f for f in findings.values() if f.name not in lacking]
    assert {f.outcome for f in others} == {"passed"}, others


def test_names_of_simulators_are_methods():
    assert QiskitBackend().device.options.method == "statevector"
    assert QiskitBackend(noise=Noise(0.1)).device.options.method == "density_matrix"
    for name, method in (
        ("aer_simulator", "automatic"),
        ("aer_simulator_statevector", "statevector"),
        ("matrix_product_state", "matrix_product_state"),
    ):
        assert QiskitBackend(device=name).device.options.method == method


@pytest.mark.usefixtures("no_account")
def test_an_unknown_name_is_one_clear_line():
    with pytest.raises(
        KetformerError, match=r"^no device 'ibm_nowhere' without an IBM account[^\n]+$"
    ):
        QiskitBackend(device="ibm_nowhere")


def test_a_device_must_be_one():
    wanted = (
        r"^a device is a name, a BackendV2, a V2 sampler, or a Session or Batch of [^\n]+; got 3$"
    )
    with pytest.raises(KetformerError, match=wanted):
        QiskitBackend(device=3)


def test_what_aer_refuses_is_a_clear_error(monkeypatch):
    # Our check comes first; Aer may still refuse what passes it.
    monkeypatch.setattr(base, "require_memory", lambda complaint, needed: None)
    with pytest.raises(KetformerError, match=r"^Aer: ERROR: .*Insufficient memory"):
        QiskitBackend().probabilities(Circuit(48).ry(0, "a"), torch.zeros(1, 1))


def test_an_empty_batch_does_not_end_the_process():
    with pytest.raises(ValueError, match="an empty batch"):
        QiskitBackend().probabilities(Circuit(1).ry(0, "a"), torch.zeros(0, 1))


def test_aers_readout_error_is_ours():
    circuit, error = entangling_ansatz(3, 1), 0.07
    angles = random_angles(circuit)
    model = NoiseModel()
    flips = ReadoutError([[1 - error, error], [error, 1 - error]])
    model.add_all_qubit_readout_error(flips)
    read = to_qiskit(circuit).reverse_bits()
    read.measure_all()
    read = read.assign_parameters(dict(zip(circuit.parameters, angles.tolist(), strict=True)))
    shots = 20_000
    simulator = AerSimulator(noise_model=model, seed_simulator=1)
    counts = simulator.run(read, shots=shots).result().get_counts().int_outcomes()
    outcomes = torch.tensor([k for k, count in counts.items() for _ in range(count)])
    with QiskitBackend(noise=Noise(readout=error)) as backend:
        frequencies("Aer's readout", outcomes, backend.probabilities(circuit, angles))


@pytest.mark.parametrize(("one", "two"), [(0.03, 0.0), (0.0, 0.08), (0.03, 0.08)])
def test_noise_is_pauli_errors_all_alike(one, two):
    """Compare with Aer's Pauli errors, with each probability written out."""
    model = NoiseModel(basis_gates=[*ONE_QUBIT, "cx"])
    errors = pauli_error([("I", 1 - one), *((p, one / 3) for p in "XYZ")])
    model.add_all_qubit_quantum_error(errors, ONE_QUBIT)
    pairs = [a + b for a in "IXYZ" for b in "IXYZ"][1:]
    errors = pauli_error([("II", 1 - two), *((p, two / 15) for p in pairs)])
    model.add_all_qubit_quantum_error(errors, ["cx"])

    circuit = hadamard_test(rotation_ring_ansatz(2, 1), rotation_ring_ansatz(2, 2))
    angles = random_angles(circuit)
    noisy = to_qiskit(decompose(circuit)).reverse_bits()
    noisy.save_probabilities()
    noisy = noisy.assign_parameters(dict(zip(circuit.parameters, angles.tolist(), strict=True)))
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    expected = torch.from_numpy(simulator.run(noisy).result().data(0)["probabilities"])
    with QiskitBackend(noise=Noise(one, two)) as backend:
        assert_equal_to(EXACT, backend.probabilities(circuit, angles), expected)


def test_parts_of_a_batch_make_the_whole(monkeypatch):
    circuit, strings = entangling_ansatz(2, 1), PauliStrings(("ZI", "XY"))
    angles = random_angles(circuit, 9)
    whole = QiskitBackend().expectations(circuit, angles, strings)
    monkeypatch.setattr(module, "_CHUNK", 2 * 2**2)
    assert_equal_to(EXACT, QiskitBackend().expectations(circuit, angles, strings), whole)
    # Two rows at a time, and each part has its own seed.
    sampled = QiskitBackend(shots=4, seed=3).sample(circuit, angles[:1].expand(40, -1))
    assert len({tuple(row.tolist()) for row in sampled}) > 20


def test_circuits_are_transpiled_once():
    backend, circuit = QiskitBackend(shots=10, seed=0), entangling_ansatz(2, 1)
    for seed in range(3):
        backend.sample(circuit, random_angles(circuit, 2, seed=seed))
    assert backend._transpiled.cache_info()[:2] == (2, 1)
    backend.close()
    assert backend._transpiled.cache_info().currsize == 0


@pytest.fixture(scope="module")
def quiet_device():
    """A device of five qubits in a line, without noise."""
    line = [[i, j] for i in range(5) for j in (i - 1, i + 1) if 0 <= j < 5]
    return GenericBackendV2(5, coupling_map=line, noise_info=False, seed=3)


def test_a_device_conforms_by_its_shots(quiet_device):
    findings = {f.name: f for f in check_backend(partial(QiskitBackend, device=quiet_device))}
    passed = {name for name, f in findings.items() if f.outcome == "passed"}
    assert passed == {"order_of_qubits", "samples", "seeds", "shots", "mistakes"}
    assert "failed" not in {f.outcome for f in findings.values()}
    name = quiet_device.name
    exact = f"the backend qiskit cannot give exact results on {name}; set shots"
    assert findings["expectations"].message == exact
    noise = f"the backend qiskit cannot add noise to {name}, which has its own"
    assert findings["gate_noise"].message == noise


def test_a_device_runs_its_own_gates_with_its_own_noise():
    device = GenericBackendV2(4, basis_gates=["id", "rz", "sx", "x", "cx"], seed=1)
    circuit = rotation_ring_ansatz(3, 12)
    angles = random_angles(circuit, 3)
    with QiskitBackend(device=device, shots=4000, seed=2) as backend:
        run_gates = backend._transpiled(circuit, measure=True).count_ops()
        assert set(run_gates) <= {"rz", "sx", "x", "cx", "barrier", "measure"}
        found = backend.sample(circuit, angles)
    with pytest.raises(MismatchError, match="standard errors"):
        frequencies("a noisy device", found, run(circuit, angles).square())


def test_an_angle_that_transpilation_removes():
    """RY(a) and RY(-a) leave nothing to bind."""
    device = GenericBackendV2(2, noise_info=False, seed=0)
    circuit = Circuit(2).ry(0, "a").ry(1, "b")
    circuit = Circuit(2, (*circuit.gates, Gate("RY", 0, angle=Angle("a", -1.0))))
    angles = torch.tensor([[0.3, torch.pi], [1.2, 0.0]])
    with QiskitBackend(device=device, shots=5, seed=0) as backend:
        assert backend.sample(circuit, angles).tolist() == [[1] * 5, [0] * 5]


def names(circuit):
    """Names of the circuit's parameters."""
    return {parameter.name for parameter in circuit.parameters}
