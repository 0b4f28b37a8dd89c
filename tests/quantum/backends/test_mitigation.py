"""Readout calibration, extrapolation to zero noise and decoupling do what they say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from ketformer.errors import KetformerError
from ketformer.quantum import PauliStrings, pauli_expectations, rotation_ring_ansatz, run
from ketformer.quantum.backends import Journal, open_backend
from ketformer.quantum.backends.mitigation import (
    Mitigation,
    calibration,
    corrected_parities,
    extrapolation,
    flips_of,
    folded,
    measured_qubits,
)

RING = rotation_ring_ansatz(3, 2)
ANGLES = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(2, 6)
STRINGS = PauliStrings(("ZII", "IXI", "ZZZ"))
EXACT = pauli_expectations(run(RING, ANGLES), STRINGS)


@pytest.fixture(scope="module")
def device():
    return FakeManilaV2()


@pytest.fixture(scope="module")
def compiled(device):
    """A circuit in the device's gates that measures three of its qubits in a mixed order."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.4, 0)
    circuit.cx(0, 1)
    circuit.sx(2)
    circuit.cx(1, 2)
    circuit.measure_all()
    passes = generate_preset_pass_manager(
        1, backend=device, initial_layout=[3, 1, 2], seed_transpiler=0
    )
    return passes.run(circuit)


def counted(circuit, name):
    return circuit.count_ops().get(name, 0)


def without_measurement(circuit):
    out = circuit.copy_empty_like()
    for one in circuit.data:
        if one.operation.name not in ("measure", "barrier"):
            out.append(one)
    return Operator(out)


# --- Extrapolation to zero noise ---------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([1, 3, 5, 7, 9]), min_size=2, max_size=4, unique=True))
def test_extrapolation_is_the_polynomial_at_zero(scales):
    values = np.linspace(0.9, 0.2, len(scales)) ** 2
    expected = np.polyval(np.polyfit(scales, values, len(scales) - 1), 0)
    assert np.dot(extrapolation(scales), values) == pytest.approx(expected, abs=1e-8)


def test_extrapolation_is_mitiqs():
    inference = pytest.importorskip("mitiq.zne.inference")
    values = [0.9, 0.75, 0.65]
    expected = inference.RichardsonFactory.extrapolate([1, 3, 5], values)
    assert np.dot(extrapolation([1, 3, 5]), values) == pytest.approx(expected)
    expected = inference.LinearFactory.extrapolate([1, 3], values[:2])
    assert np.dot(extrapolation([1, 3]), values[:2]) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [3, 5])
def test_a_folded_circuit_is_the_same_and_longer(device, compiled, scale):
    longer = folded(compiled, scale, device.target)
    assert without_measurement(longer).equiv(without_measurement(compiled))
    assert counted(longer, "cx") == scale * counted(compiled, "cx")
    assert set(longer.count_ops()) <= {*device.target.operation_names, "barrier"}
    assert measured_qubits(longer) == measured_qubits(compiled)


# --- Readout -----------------------------------------------------------------------------------


def test_calibration_flips_the_measured_qubits(device, compiled):
    qubits = measured_qubits(compiled)
    assert sorted(qubits) != list(range(3))  # otherwise the order would not be tested
    for flipped, circuit in enumerate(calibration(qubits, 5)):
        assert measured_qubits(circuit) == qubits
        turned = {circuit.find_bit(i.qubits[0]).index for i in circuit.data if i.name == "x"}
        assert turned == (set(qubits) if flipped else set())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)), min_size=3, max_size=3))
def test_corrected_parities_have_the_right_mean(errors):
    """Over all ways to misread |010>, each with its probability."""
    flips, bits = torch.tensor(errors, dtype=torch.float64), (0, 1, 0)
    strings = PauliStrings(("ZII", "IZI", "ZZI", "ZZZ", "III"))
    outcomes = torch.arange(8)[:, None]
    found = corrected_parities(outcomes, strings, flips)  # [8, S], one shot each
    probability = torch.ones(8, dtype=torch.float64)
    for qubit, bit in enumerate(bits):
        read = (outcomes[:, 0] >> (2 - qubit)) & 1
        wrong = flips[qubit, bit]
        probability *= torch.where(read != bit, wrong, 1 - wrong)
    wanted = torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(probability @ found, wanted, atol=1e-9, rtol=0)


def test_flips_are_counted_for_each_qubit():
    zeros, ones = torch.tensor([[0b000, 0b100, 0b100, 0b001]]), torch.tensor([[0b111, 0b101]])
    expected = [[0.5, 0.0], [0.0, 0.5], [0.25, 0.0]]
    assert flips_of(zeros, ones, 3).tolist() == expected


def test_a_qubit_that_is_read_at_random_is_refused():
    flips = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    with pytest.raises(KetformerError, match="qubit 1 of the circuit is read at random"):
        corrected_parities(torch.zeros(1, 1, dtype=torch.long), PauliStrings(("ZZ",)), flips)


# --- On a device -------------------------------------------------------------------------------


def error(device, **options):
    """Root mean squared error, circuits run."""
    with open_backend("qiskit", device=device, shots=4000, seed=0, **options) as backend:
        found = backend.expectations(RING, ANGLES, STRINGS)
        assert backend.mitigation == Mitigation(options.get("mitigation")).kinds
        return float((found - EXACT).square().mean().sqrt()), backend.circuits_run


def test_readout_errors_alone_are_removed():
    """Different errors of each physical qubit, so the right ones must be found."""
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel, ReadoutError

    model = NoiseModel()
    for qubit, (up, down) in enumerate([(0.02, 0.2), (0.15, 0.01), (0.1, 0.1)]):
        model.add_readout_error(ReadoutError([[1 - up, up], [down, 1 - down]]), [qubit])
    device = AerSimulator(noise_model=model, n_qubits=3)
    assert error(device)[0] > 0.1
    assert error(device, mitigation="readout")[0] < 0.04


def test_each_kind_on_a_recorded_device(device):
    raw, circuits = error(device)
    readout, with_calibration = error(device, mitigation="readout")
    zne, with_folding = error(device, mitigation="zne")
    both, with_both = error(device, mitigation=["zne", "readout"], zne_scales=(1, 3, 5))
    assert readout < raw / 2
    assert zne < raw
    assert both < raw / 2
    assert (with_calibration, with_folding) == (circuits + 2, 2 * circuits)
    # X and Z are measured by different circuits, which may lie on different qubits.
    assert with_both - 3 * circuits in (2, 4)


def test_idle_qubits_wait_or_are_decoupled(device, compiled):
    waiting = Mitigation(idle_times=True).prepared(compiled, 1, device.target)
    decoupled = Mitigation("dd").prepared(compiled, 1, device.target)
    used = set(measured_qubits(compiled))
    for circuit in (waiting, decoupled):
        idle = {circuit.find_bit(i.qubits[0]).index for i in circuit.data if i.name == "delay"}
        assert idle
        assert idle <= used  # the other two qubits are not even simulated
    assert counted(waiting, "x") == counted(compiled, "x")
    pulses = counted(decoupled, "x") - counted(compiled, "x")
    assert pulses > 0
    assert pulses % 2 == 0
    assert error(device, idle_times=True)[0] > error(device)[0]  # qubits decay meanwhile


def test_a_journal_keeps_folded_circuits_and_calibrations(device, tmp_path):
    found = []
    for _ in range(2):
        options = {"mitigation": "readout,zne", "shots": 50, "seed": 3}
        with (
            open_backend("qiskit", device=device, **options) as backend,
            Journal(tmp_path / "journal") as journal,
            journal.keeping(backend),
        ):
            found.append(backend.expectations(RING, ANGLES, STRINGS))
            jobs = backend.provenance()["job_ids"]
    torch.testing.assert_close(found[0], found[1], atol=1e-12, rtol=0)
    assert jobs == []  # of the second time


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mitigation": "readout,pec"}, "unknown mitigation pec; known: readout, zne, dd"),
        ({"mitigation": "zne", "zne_scales": (1, 2)}, "different odd numbers, got"),
        ({"mitigation": "zne", "zne_scales": (1,)}, "two or more"),
        ({"mitigation": "zne", "zne_scales": (3, 3)}, "different odd"),
        ({"mitigation": "readout"}, "name a device"),
        ({"idle_times": True}, "name a device"),
    ],
)
def test_mistakes_are_clear(options, message):
    with pytest.raises(KetformerError, match=message):
        open_backend("qiskit", shots=10, **options)
