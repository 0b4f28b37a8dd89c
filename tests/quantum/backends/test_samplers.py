"""Circuits on devices through V2 samplers: which sampler, jobs within limits, failures."""

from copy import copy

import pytest
import torch
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.providers import JobError
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_ibm_runtime import Batch, IBMBackend, Sampler, Session
from qiskit_ibm_runtime.exceptions import (
    IBMApiError,
    IBMBackendError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobNotFound,
)
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.fake_provider.local_service import QiskitRuntimeLocalService
from qiskit_ibm_runtime.qiskit_runtime_service import QiskitRuntimeService

from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, Noise, PauliStrings, hadamard_test, rotation_ring_ansatz, run
from ketformer.quantum.backends import Journal, _samplers as module, open_backend
from ketformer.quantum.backends._trials import frequencies
from ketformer.quantum.backends.journal import summary
from ketformer.quantum.backends.qiskit import QiskitBackend

from ..helpers import random_angles

pytestmark = [
    pytest.mark.filterwarnings("ignore:Qiskit backend:UserWarning"),
    pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated:DeprecationWarning"),
]
# RY by π and a CNOT: on a quiet device always 3, whatever the layout.
SURE = Circuit(2).ry(0, "a").cnot(0, 1)
HALF_TURN = torch.full((1, 1), torch.pi, dtype=torch.float64)


RECORDED = FakeManilaV2()


class Service(QiskitRuntimeService):
    """IBM's service without a network: jobs run on the recorded device, unless they fail.

    Args:
        failures: what the next submissions raise; None for one that succeeds.
        results: what asking for the next results raises, likewise.
        known: jobs that it has already, by id.
    """

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, failures=(), results=(), known=None):
        self.jobs = dict(known or {})
        self.failures = list(failures)
        self.results = list(results)
        self.submitted = []

    def _run(self, program_id, inputs, options, calibration_id=None, dry_run=False):
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        sizes = [pub.parameter_values.size for pub in inputs["pubs"]]
        self.submitted.append((sum(sizes), {pub.shots for pub in inputs["pubs"]}))
        local = {"backend": RECORDED}
        job = QiskitRuntimeLocalService()._run(program_id, inputs, local, None)
        self.jobs[job.job_id()] = job
        failing = copy(job)
        failing.result = self._failing(job.result)
        return failing

    def job(self, job_id):
        if job_id not in self.jobs:
            raise RuntimeJobNotFound("Job not found")
        return self.jobs[job_id]

    def _failing(self, result):
        def asked():
            if self.results and (failure := self.results.pop(0)):
                raise failure
            return result()

        return asked


class Remote(IBMBackend):
    """A backend of IBM's own class, whose ``run`` only raises."""

    def properties(self, refresh=False, datetime=None):
        self._properties = RECORDED.properties()
        return self._properties


def remote(**service):
    return Remote(RECORDED.configuration(), Service(**service), None)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0)


def test_a_backend_of_ibms_runs_through_its_sampler():
    device = remote()
    with pytest.raises(IBMBackendError, match=r"run\(\) has been removed"):
        device.run([])
    with QiskitBackend(device=device, shots=200) as backend:
        outcomes = backend.sample(SURE, HALF_TURN.expand(3, 1))
    assert device._service.submitted == [(3, {200})]
    assert (outcomes == 3).float().mean() > 0.85
    assert (outcomes != 3).float().mean() > 0  # the recorded device has noise


@pytest.mark.parametrize("mode", [Session, Batch])
def test_sessions_and_batches_run_circuits(mode):
    with QiskitBackend(device=mode(backend=RECORDED), shots=200) as backend:
        assert (backend.sample(SURE, HALF_TURN) == 3).float().mean() > 0.85
        assert backend.provenance()["device"] == "fake_manila"


QUIET = GenericBackendV2(
    4, coupling_map=[[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]], noise_info=False, seed=3
)


@pytest.mark.parametrize(
    "sampler",
    [
        StatevectorSampler(seed=1),
        AerSampler(seed=1),
        BackendSamplerV2(backend=QUIET, options={"seed_simulator": 1}),
        lambda: Sampler(mode=AerSimulator(seed_simulator=1)),
    ],
    ids=["statevector", "aer", "of a backend", "of IBM's runtime"],
)
def test_any_sampler_gives_the_circuits_outcomes(sampler):
    """Among the gates are rotations with a control, which Aer binds wrongly by itself."""
    circuit = hadamard_test(rotation_ring_ansatz(2, 1), rotation_ring_ansatz(2, 1))
    angles = random_angles(circuit, 3)
    device = sampler() if callable(sampler) else sampler
    with QiskitBackend(device=device, shots=2000) as backend:
        found = backend.sample(circuit, angles)
        frequencies("a sampler", found, run(circuit, angles).abs().square(), circuit)
        assert (backend.sample(SURE, HALF_TURN) == 3).all()
        assert (backend.sample(Circuit(1).x(0), torch.zeros(4, 0)) == 1).all()


# --- Limits --------------------------------------------------------------------------------------


def test_jobs_keep_within_the_devices_limits():
    device = remote()
    device._configuration.max_experiments = 2
    device._configuration.max_shots = 100
    angles = torch.linspace(0, torch.pi, 3, dtype=torch.float64)[:, None]
    with QiskitBackend(device=device, shots=150) as backend:
        outcomes = backend.sample(SURE, angles)
        assert len(backend.provenance()["job_ids"]) == 4
    sizes = [(n, shots) for shots in (100, 50) for n in (2, 1)]
    assert device._service.submitted == [(n, {shots}) for n, shots in sizes]
    # Every part of the shots is in its place: from all 0 to all 1.
    seen = (outcomes == 3).float().unflatten(1, (3, 50)).mean(-1)
    assert (seen[0] < 0.2).all()
    assert (seen[-1] > 0.8).all()


def test_circuits_without_angles_are_split_too():
    with QiskitBackend(device=QUIET, shots=5, circuits_per_job=2, seed=0) as backend:
        assert backend.sample(Circuit(2).x(1), torch.zeros(5, 0)).tolist() == [[1] * 5] * 5
        assert len(backend.provenance()["job_ids"]) == 3


def test_parts_of_the_shots_are_drawn_anew():
    device = GenericBackendV2(2, noise_info=False, seed=3)
    with QiskitBackend(device=device, shots=60, circuits_per_job=1, seed=0) as backend:
        first, second = backend.sample(Circuit(1).h(0), torch.zeros(2, 0))
        assert not torch.equal(first, second)


def test_few_jobs_of_a_remote_device_are_under_way_at_once(monkeypatch):
    under_way, most = 0, 0
    submit, outcomes = module.DeviceSampler.submit, module._Job.outcomes

    def submitted(*given):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return submit(*given)

    def ended(job):
        nonlocal under_way
        found = outcomes(job)
        under_way -= 1
        return found

    monkeypatch.setattr(module.DeviceSampler, "submit", submitted)
    monkeypatch.setattr(module._Job, "outcomes", ended)
    for device, wanted in ((remote(), 3), (QUIET, 1)):
        most = 0
        with QiskitBackend(device=device, shots=5, circuits_per_job=1) as backend:
            backend.sample(SURE, HALF_TURN.expand(5, 1))
        assert most == wanted


def test_circuits_per_job_is_positive():
    with pytest.raises(KetformerError, match=r"^circuits_per_job must be positive, got 0$"):
        QiskitBackend(device=QUIET, circuits_per_job=0)


# --- Failures ------------------------------------------------------------------------------------


def test_a_failure_that_may_pass_is_tried_again_with_a_warning():
    device = remote(failures=[IBMRuntimeError("Failed to run program: busy")])
    said = "^fake_manila: the job failed: Failed to run program: busy; trying again in 0 s$"
    with QiskitBackend(device=device, shots=50) as backend:
        with pytest.warns(UserWarning, match=said):
            backend.sample(SURE, HALF_TURN)
        assert len(backend.provenance()["job_ids"]) == 1


@pytest.mark.parametrize(
    ("failure", "submissions"),
    [
        (RuntimeJobFailureError("internal error"), 2),
        (JobError("internal error"), 2),
        (ConnectionError("no route"), 1),
        (IBMApiError("no answer"), 1),
    ],
)
@pytest.mark.filterwarnings("ignore:fake_manila:UserWarning")
def test_a_job_is_paid_for_twice_only_if_it_has_failed(failure, submissions):
    device = remote(results=[failure])
    with QiskitBackend(device=device, shots=50) as backend:
        assert backend.sample(SURE, HALF_TURN).shape == (1, 50)
        assert len(backend.provenance()["job_ids"]) == submissions
    assert len(device._service.submitted) == submissions


@pytest.mark.filterwarnings("ignore:fake_manila:UserWarning")
def test_three_failures_are_one_clear_line_with_the_jobs_id():
    device = remote(results=[JobError("internal\nerror")] * 3)
    with QiskitBackend(device=device, shots=50) as backend, pytest.raises(KetformerError) as caught:
        backend.sample(SURE, HALF_TURN)
    last = backend.provenance()["job_ids"][-1]
    assert str(caught.value) == f"fake_manila: the job {last} failed: internal (tried 3 times)"


@pytest.mark.parametrize(
    "failure",
    [RuntimeInvalidStateError("was cancelled"), ValueError("wrong"), IBMBackendError("refused")],
)
def test_a_failure_that_stays_is_not_tried_again(failure):
    device = remote(results=[failure])
    with (
        QiskitBackend(device=device, shots=50) as backend,
        pytest.raises(KetformerError, match=r"^fake_manila: the job .+ failed: [^(]+$"),
    ):
        backend.sample(SURE, HALF_TURN)
    assert len(device._service.submitted) == 1


@pytest.mark.parametrize("name", ["fake_manila", "aer_from:fake_manila"])
def test_the_noise_of_the_qubits_used_is_all_that_counts(name, monkeypatch):
    """On large devices, the noise of the other qubits takes most of the time."""
    circuit = rotation_ring_ansatz(3, 2)
    angles = random_angles(circuit, 2)

    def sampled():
        with QiskitBackend(device=name, shots=300, seed=4) as backend:
            backend.sample(circuit, angles)  # a recorded device makes its noise when it first runs
            outcomes = backend.sample(circuit, angles)
            options = module._only_noise_of(backend.device, [(backend._transpiled(circuit, True),)])
        return outcomes, options

    part, options = sampled()
    errors = options["noise_model"].to_dict()["errors"]
    whole = QiskitBackend(device=name, shots=1).device.options.noise_model
    monkeypatch.setattr(module, "_only_noise_of", lambda backend, pubs: {})
    assert torch.equal(sampled()[0], part)
    if whole is not None:
        assert len(errors) < len(whole.to_dict()["errors"])
    assert {len(error["gate_qubits"][0]) for error in errors} == {1, 2}


def test_a_circuit_that_does_not_fit_is_one_clear_line():
    wide = Circuit(6)
    with (
        QiskitBackend(device="fake_manila", shots=5) as backend,
        pytest.raises(KetformerError, match=r"^a circuit of 6 qubits cannot be .* fake_manila: "),
    ):
        backend.sample(wide, torch.zeros(1, 0))


# --- Noise and provenance ------------------------------------------------------------------------


def test_an_aer_noise_model_or_a_calibration_may_be_the_noise():
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.2, 2), ["cx"])
    zz = PauliStrings(("ZZ",))
    read = [RECORDED.target["measure"][q,].error for q in (0, 1)]
    misread = (1 - 2 * read[0]) * (1 - 2 * read[1])
    for noise, name, shrunk in (
        (model, "Aer with a noise model", 0.8),
        (RECORDED, "Aer with the noise of fake_manila", misread * 0.98),
    ):
        with open_backend("qiskit", noise=noise, shots=4000, seed=1) as backend:
            (found,) = backend.expectations(SURE, HALF_TURN[0], zz)
            assert found == pytest.approx(shrunk, abs=0.03)
            said = backend.provenance()
            assert said["device"] == name
            assert "cx" in said["native_gates"]
            assert "ry" not in said["native_gates"]


@pytest.mark.parametrize("wrong", [3, {"one_qubit"}, AerSimulator()], ids=["3", "set", "ideal"])
def test_a_wrong_noise_is_one_clear_line(wrong):
    wanted = r"^noise is a ketformer.quantum.Noise, an Aer NoiseModel, or a BackendV2 [^\n]+$"
    with pytest.raises(KetformerError, match=wanted):
        open_backend("qiskit", noise=wrong)
    for name in ("torch", "pennylane"):
        wanted = f"^the backend {name} takes noise as a ketformer.quantum.Noise, got "
        with pytest.raises(KetformerError, match=wanted):
            open_backend(name, noise=wrong)


def test_a_noise_model_is_for_aer():
    for noise in (NoiseModel(), Noise(readout=0.1)):
        with pytest.raises(KetformerError, match="cannot add noise to fake_manila, which has its"):
            QiskitBackend(device="fake_manila", noise=noise, shots=5)
    with QiskitBackend(device="statevector", noise=NoiseModel(), shots=5, seed=0) as backend:
        assert backend.device.options.method == "statevector"
        assert (backend.sample(SURE, HALF_TURN) == 3).all()


@pytest.mark.parametrize("name", ["fake_manila", "aer_from:fake_manila"])
def test_a_result_says_where_it_comes_from(name):
    with QiskitBackend(device=name, shots=20, seed=0) as backend:
        backend.sample(Circuit(3).h(0).cnot(0, 1).cnot(1, 2), torch.zeros(1, 0))
        said = backend.provenance()
    assert "fake_manila" in said["device"]
    assert said["calibration_date"] == RECORDED.properties().last_update_date.isoformat()
    assert said["native_gates"] == ["cx", "id", "rz", "sx", "x"]
    (layout,) = said["layouts"]
    assert len(set(layout)) == 3
    assert set(layout) <= set(range(5))
    assert (said["shots"], said["mitigation"], len(said["job_ids"])) == (20, [], 1)


def test_the_layout_has_our_qubits_in_order():
    """A coupling that only one qubit has decides where each of ours goes."""
    star = GenericBackendV2(4, coupling_map=[[0, i] for i in (1, 2, 3)], noise_info=False, seed=1)
    circuit = Circuit(4).h(1).cnot(1, 0).cnot(1, 2).cnot(1, 3)
    with QiskitBackend(device=star, shots=5, seed=0) as backend:
        backend.sample(circuit, torch.zeros(1, 0))
        ((_, center, _, _),) = backend.provenance()["layouts"]
    assert center == 0


def test_simulators_have_no_device_to_speak_of():
    for name in ("torch", "shots", "pennylane"):
        said = open_backend(name, shots=7).provenance()
        assert (said["shots"], said["layouts"], said["job_ids"]) == (7, [], [])
    assert open_backend("qiskit").provenance()["device"] == "Aer, statevector"


def expected_of(path, device, **options):
    """``Z`` of the first of SURE's qubits for ten angles, by four jobs of three circuits."""
    angles = torch.linspace(0, 3, 10, dtype=torch.float64)[:, None]
    backend = QiskitBackend(device=device, shots=50, circuits_per_job=3, **options)
    with Journal(path) as journal, journal.keeping(backend):
        return backend.expectations(SURE, angles, PauliStrings(("ZI",))), backend


def test_jobs_of_a_stopped_process_are_asked_for_their_results(tmp_path):
    """Submitted and paid for, but not seen: it is stopped as it waits for the second one."""
    path = tmp_path / "journal.jsonl"
    first = remote(results=[None, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        expected_of(path, first)
    (row,) = summary(path)["rows"]
    assert (row["batches"], row["jobs"], row["device"]) == (0, [], "fake_manila")
    assert len(row["waiting"]) == 4  # one done, and three under way at once
    again = remote(known=first._service.jobs)
    found, backend = expected_of(path, again)
    assert again._service.submitted == []
    assert backend.provenance()["job_ids"] == row["waiting"]
    assert found[0, 0] > 0.8 > -0.6 > found[-1, 0]
    (row,) = summary(path)["rows"]
    assert (row["batches"], row["waiting"]) == (1, [])
    assert row["jobs"] == backend.provenance()["job_ids"]


def test_jobs_that_the_service_has_forgotten_run_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = remote(results=[None, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        expected_of(path, first)
    kept = dict([*first._service.jobs.items()][:1])
    again = remote(known=kept)
    with pytest.warns(UserWarning, match="does not know the job .* any more; its circuits run"):
        _, backend = expected_of(path, again)
    assert len(again._service.submitted) == 3
    assert backend.provenance()["job_ids"][0] in kept
    (row,) = summary(path)["rows"]
    assert (len(row["jobs"]), row["waiting"]) == (4, [])


def noisy(error):
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(error, 1), ["ry"])
    return model


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"noise": noisy(0.1)}, {"noise": noisy(0.2)}),
        ({"noise": noisy(0.1)}, {}),
        ({"device": AerSimulator(noise_model=noisy(0.1))}, {"device": AerSimulator()}),
        ({"device": "fake_manila"}, {"noise": RECORDED}),
        ({"device": Session(backend=RECORDED)}, {"device": "fake_manila"}),
    ],
)
def test_a_journal_tells_devices_apart(one, other):
    told_apart(one, other)


def test_a_journal_tells_the_options_of_samplers_apart():
    other = Sampler(RECORDED, {"default_shots": 7})
    told_apart({"device": Sampler(RECORDED)}, {"device": other})


def told_apart(one, other):
    settings = [QiskitBackend(shots=5, **options).settings for options in (one, other)]
    assert settings[0] != settings[1]
    assert " at 0x" not in str(settings)
    assert QiskitBackend(shots=5, **one).settings == settings[0]


def test_a_device_is_the_same_by_name_and_as_an_object():
    named, given = (QiskitBackend(shots=5, device=d) for d in ("fake_manila", FakeManilaV2()))
    before = named.settings
    named.sample(SURE, HALF_TURN)
    assert named.settings == before == given.settings
