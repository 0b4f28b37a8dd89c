"""What is specific to CUDA-Q: its targets, process-wide state, and several QPUs."""

import subprocess
import sys
from functools import partial

import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, Noise, PauliStrings, entangling_ansatz, rotation_ring_ansatz
from ketformer.quantum.backends.conformance import CONFORMANCE, Scope
from ketformer.quantum.backends.cudaq import CudaQBackend
from ketformer.quantum.backends.exact import TorchBackend

from ..helpers import assert_equal_to, random_angles

if sys.platform != "linux":
    pytest.skip("CUDA-Q has no wheels but for Linux", allow_module_level=True)

EXACT = 1e-10


@pytest.fixture
def api():
    """The module ``cudaq``; its target is restored afterwards."""
    api = CudaQBackend()._cudaq
    target = api.get_target()
    yield api
    api.set_target(target)


@pytest.mark.parametrize("name", ["probabilities", "expectations"])
def test_the_density_matrix_conforms(name):
    check = next(check for check in CONFORMANCE if check.name == name)
    check(partial(CudaQBackend, target="density-matrix-cpu"), Scope(draws=2, max_qubits=3))


def test_a_provider_of_hardware_is_emulated_by_its_options():
    """Its own gates and its order of bits, without an account; the emulation has no noise."""
    check = next(check for check in CONFORMANCE if check.name == "samples")
    make = partial(CudaQBackend, target="ionq", target_options={"emulate": True})
    check(make, Scope(draws=2, max_qubits=2))
    with make(shots=5) as backend:
        assert backend.provenance()["device"] == "ionq, emulate=True"
        with pytest.raises(KetformerError, match="cannot give exact results on ionq; set shots"):
            backend.state(Circuit(1), torch.zeros(0))


def test_what_a_provider_refuses_is_one_clear_line():
    """Emulation of IQM asks a server for the device's couplings."""
    options = {"emulate": True, "url": "http://localhost:1/"}
    with pytest.raises(KetformerError, match=r"^the CUDA-Q target iqm: Unable to get [^\n]+$"):
        CudaQBackend(target="iqm", target_options=options, shots=5).sample(
            Circuit(1).x(0), torch.zeros(1, 0)
        )


def test_the_density_matrix_shows_no_state():
    with pytest.raises(KetformerError, match="cannot show a state on density-matrix-cpu"):
        CudaQBackend(target="density-matrix-cpu").state(Circuit(1).ry(0, "a"), torch.zeros(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "qpp"}, "unknown CUDA-Q target 'qpp'"),
        ({"target": "nvidia"}, "the CUDA-Q target nvidia needs an NVIDIA GPU: none found"),
        ({"target": "nvidia", "target_option": "mqpu"}, "nvidia needs an NVIDIA GPU"),
        ({"target": "tensornet-mps"}, "tensornet-mps needs an NVIDIA GPU"),
        ({"target": "ionq"}, "the CUDA-Q target ionq: IONQ_API_KEY"),
        ({"target": "qpp-cpu", "noise": Noise(0.1)}, "qpp-cpu cannot simulate noise on gates"),
    ],
)
def test_targets_that_cannot_be_used_are_one_clear_line(api, monkeypatch, options, message):
    monkeypatch.setattr(api, "num_available_gpus", lambda: 0)
    monkeypatch.delenv("IONQ_API_KEY", raising=False)
    with pytest.raises(KetformerError, match=message) as error:
        CudaQBackend(**options)
    assert "\n" not in str(error.value)
    assert api.get_target().name == "qpp-cpu"


def test_importing_it_is_quiet_and_stays_so_about_nothing_else():
    program = (
        "import warnings\n"
        "from ketformer.quantum.backends.cudaq import CudaQBackend\n"
        "CudaQBackend()\n"
        "warnings.warn('another', FutureWarning)\n"
    )
    command = [sys.executable, "-W", "always", "-c", program]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert done.stderr.count("FutureWarning") == 1
    assert "another" in done.stderr


@pytest.mark.parametrize("failing", [False, True])
def test_the_previous_target_is_put_back(api, failing):
    api.set_target("density-matrix-cpu")
    backend, circuit = CudaQBackend(shots=5), entangling_ansatz(2, 1)
    assert api.get_target().name == "density-matrix-cpu"
    seen = []

    def run(*args, **options):
        seen.append(api.get_target().name)
        if failing:
            raise RuntimeError("no luck")
        return iter([{"00": 5}])

    backend._run = run
    if failing:
        with pytest.raises(KetformerError, match="no luck"):
            backend.sample(circuit, random_angles(circuit))
    else:
        backend.sample(circuit, random_angles(circuit))
    assert seen == ["qpp-cpu"]
    assert api.get_target().name == "density-matrix-cpu"


def test_noise_is_not_left_behind(api):
    circuit = rotation_ring_ansatz(2, 3)
    angles, z = random_angles(circuit), PauliStrings(("ZZ",))
    target = {"target": "density-matrix-cpu"}
    exact = CudaQBackend(**target).expectations(circuit, angles, z)
    noisy = CudaQBackend(noise=Noise(0.05, 0.05), **target)
    api.set_target("density-matrix-cpu")
    for _ in range(2):
        assert (noisy.expectations(circuit, angles, z) - exact).abs() > 0.01
        assert noisy.sample(circuit, angles, 10).shape == (10,)
        kernel = noisy._kernel(circuit)
        clean = api.observe(kernel, api.spin.z(0) * api.spin.z(1), angles.tolist()).expectation()
        assert_equal_to(EXACT, torch.tensor([clean], dtype=torch.float64), exact)


@pytest.mark.parametrize(
    "undone",
    [
        Circuit(2).x(0).x(0),
        Circuit(2).h(0).h(0),
        Circuit(2).ry(0, 0.3).ry(0, -0.3),
        Circuit(2).cnot(0, 1).cnot(0, 1),
    ],
)
def test_gates_that_undo_each_other_still_err(undone):
    circuit, noise = Circuit(2).ry(0, "a").then(undone), Noise(0.05, 0.1)
    angles = torch.tensor([[0.3]], dtype=torch.float64)
    exact = CudaQBackend(noise=noise).probabilities(circuit, angles)
    fewer = CudaQBackend(noise=noise).probabilities(Circuit(2).ry(0, "a"), angles)
    assert (exact - fewer).abs().max() > 0.005


def test_shots_and_exact_results_of_a_target_that_only_measures():
    backend, circuit = CudaQBackend(shots=20, seed=0), entangling_ansatz(2, 1)
    backend.only_samples = True
    angles, z = random_angles(circuit, 3), PauliStrings(("ZI",))
    assert backend.expectations(circuit, angles, z).shape == (3, 1)
    refusal = "cudaq cannot give exact results on qpp-cpu; set shots"
    for call in (backend.state, backend.probabilities):
        with pytest.raises(KetformerError, match=refusal):
            call(circuit, angles)


class SeveralQPUs:
    """CUDA-Q pretending to have three QPUs: calls are counted, then run on the only one."""

    def __init__(self, api):
        self._api = api
        self.qpus, self.waiting, self.most = [], 0, 0

    def __getattr__(self, name):
        found = getattr(self._api, name)
        return partial(self._launch, found) if name.endswith("_async") else found

    def _launch(self, function, *args, qpu_id, **options):
        self.qpus.append(qpu_id)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        return Future(self, function(*args, **options))


class Future:
    def __init__(self, qpus, future):
        self._qpus, self._future = qpus, future

    def get(self):
        self._qpus.waiting -= 1
        return self._future.get()


def test_several_qpus_work_at_once():
    circuit, strings = entangling_ansatz(2, 1), PauliStrings(("ZI", "XY", "II"))
    angles = random_angles(circuit, 30)
    alone, backend = CudaQBackend(), CudaQBackend(seed=1)
    expected = alone.expectations(circuit, angles, strings)
    backend._cudaq = several = SeveralQPUs(backend._cudaq)
    backend.n_qpus = 3
    assert_equal_to(EXACT, backend.expectations(circuit, angles, strings), expected)
    assert several.qpus == [i % 3 for i in range(30)]
    assert (several.most, several.waiting) == (24, 0)
    assert_equal_to(EXACT, backend.state(circuit, angles), alone.state(circuit, angles))
    none = backend.state(Circuit(1).h(0), torch.zeros(1, 0))
    assert_equal_to(1e-6, none, torch.full((1, 2), 0.5**0.5))
    assert backend.sample(circuit, angles, 7).shape == (30, 7)
    assert len(several.qpus) == 30 + 30 + 1 + 30


@pytest.mark.parametrize("n_strings", [1, 4, 5, 16])
def test_few_strings_and_many(n_strings):
    circuit, pairs = entangling_ansatz(2, 1), [a + b for a in "IXYZ" for b in "IXYZ"]
    angles, strings = random_angles(circuit, 2, 2), PauliStrings(tuple(pairs[-n_strings:]))
    exact = TorchBackend().expectations(circuit, angles, strings)
    assert_equal_to(EXACT, CudaQBackend().expectations(circuit, angles, strings), exact)


def test_kernels_are_built_once():
    backend, circuit = CudaQBackend(shots=10), entangling_ansatz(2, 1)
    for seed in range(3):
        backend.sample(circuit, random_angles(circuit, 2, seed=seed))
    assert backend._kernel.cache_info()[:2] == (2, 1)
    backend.close()
    assert backend._kernel.cache_info().currsize == 0


def test_batches_longer_than_one_call(monkeypatch):
    circuit, strings = entangling_ansatz(2, 1), PauliStrings(("ZI",))
    angles = random_angles(circuit, 10)
    whole = CudaQBackend().expectations(circuit, angles, strings)
    monkeypatch.setattr("ketformer.quantum.backends.cudaq._BATCH", 4)
    assert_equal_to(EXACT, CudaQBackend().expectations(circuit, angles, strings), whole)
