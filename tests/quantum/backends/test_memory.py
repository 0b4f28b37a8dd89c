"""Circuits that fit no machine are refused, naming the memory needed, before any allocation."""

import sys

import pytest
import torch

from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, PauliStrings
from ketformer.quantum.backends import BACKENDS, open_backend

CIRCUIT = Circuit(44).h(0).ry(43, "a")
# CUDA-Q has wheels only for Linux.
HERE = {name for name in BACKENDS if name != "cudaq" or sys.platform == "linux"}
ANGLES = torch.zeros(1, 1, dtype=torch.float64)
CALLS = {
    "expectations": lambda b: b.expectations(CIRCUIT, ANGLES, PauliStrings(("Z" * 44,))),
    "probabilities": lambda b: b.probabilities(CIRCUIT, ANGLES),
    "state": lambda b: b.state(CIRCUIT, ANGLES),
    "sample": lambda b: b.sample(CIRCUIT, ANGLES, shots=2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", [name for name in BACKENDS if name in HERE])
def test_44_qubits_are_refused_with_the_memory_they_would_take(name, call):
    with open_backend(name) as backend, pytest.raises(KetformerError) as caught:
        CALLS[call](backend)
    assert "44 qubits are too many" in str(caught.value)
    assert "524,288 GiB of memory" in str(caught.value)


@pytest.mark.parametrize("name", sorted(HERE - {"shots"}))
def test_noise_on_gates_squares_it(name):
    circuit = Circuit(22).ry(0, "a")
    with (
        open_backend(name, noise={"one_qubit": 0.01}) as backend,
        pytest.raises(KetformerError, match=r"22 qubits are too many.* 524,288 GiB"),
    ):
        backend.probabilities(circuit, ANGLES)


def test_what_is_not_simulated_exactly_is_not_refused():
    with open_backend("qiskit", device="matrix_product_state", shots=5, seed=0) as backend:
        found = backend.expectations(CIRCUIT, ANGLES, PauliStrings(("I" * 43 + "Z",)))
    assert found.tolist() == [[1.0]]
