"""The cases of the contract: every name in the registry, so that a new mechanism tests itself."""

import pytest

from ketformer.attention import ATTENTION

from .helpers import build

SIZES = [(16, 1), (24, 3), (32, 4)]
CASES = [(name, *size, {}) for name in ATTENTION for size in SIZES]

# Options that change the path through the code answer to the same contract.
CASES += [
    ("classical", 16, 2, {"mixing": "transposed"}),
    ("classical", 16, 2, {"score": "gaussian", "bias": True}),
    ("qsann", 16, 2, {"encoding": "angle", "n_qubits": 3}),
    ("qsann", 16, 2, {"query_observables": "pauli", "observables": "random"}),
    ("qisa", 16, 2, {"score": "double_exponential", "hilbert_dim": 5}),
    ("qisa", 16, 2, {"learnable_temperature": True, "temperature": 2.0}),
    ("overlap", 16, 2, {"n_qubits": 4, "layers": 2, "learnable_temperature": True}),
    ("classical_eq", 16, 2, {"query_width": 3}),
    ("qisa_a", 16, 2, {"score": "dot", "observables": "random", "bias": False}),
]


def case_id(case):
    name, hidden_size, num_heads, options = case
    return "-".join([name, f"{hidden_size}x{num_heads}", *(f"{k}={v}" for k, v in options.items())])


@pytest.fixture(params=CASES, ids=case_id)
def case(request):
    """A mechanism's name, hidden size, number of heads and options."""
    return request.param


@pytest.fixture
def build_case(case):
    """Builds the case; ``seed`` and further options may be given."""
    name, hidden_size, num_heads, options = case
    return lambda **more: build(name, hidden_size, num_heads, **options, **more)


@pytest.fixture
def attention(build_case):
    """The case, built."""
    return build_case()
