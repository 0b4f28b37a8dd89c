"""The cases of the contract: every name in the registry, so that new mechanisms are tested too."""

from ketformer.attention import ATTENTION
from mechanisms import MECHANISMS

SIZES = [(16, 1), (24, 3), (32, 4)]
CASES = [(name, *size, {}) for name in MECHANISMS for size in SIZES]
# Their paths do not depend on the size, which for circuits as wide as the model must be small.
_NARROW = {"vqc_plain": (6, 2)}
CASES += [(name, *_NARROW.get(name, SIZES[1]), {}) for name in ATTENTION if name not in MECHANISMS]

# Options that change the path through the code must meet the same contract.
CASES += [
    ("classical", 16, 2, {"mixing": "transposed"}),
    ("classical", 16, 2, {"score": "gaussian", "bias": True}),
    ("qsann", 16, 2, {"encoding": "angle", "n_qubits": 3, "layers": 1}),
    ("qsann", 16, 2, {"query_observables": "pauli", "observables": "random"}),
    ("qisa", 16, 2, {"score": "double_exponential", "hilbert_dim": 5}),
    ("qisa", 16, 2, {"learnable_temperature": True, "temperature": 2.0}),
    ("overlap", 16, 2, {"n_qubits": 4, "layers": 2, "learnable_temperature": True}),
    ("overlap", 16, 2, {"angles": "embedding", "layers": 2}),
    ("overlap", 16, 2, {"entanglement": "none", "n_qubits": 5}),
    ("classical_eq", 16, 2, {"query_width": 3}),
    ("classical", 15, 3, {"token_shift": True}),
    ("classical", 16, 2, {"local_start": 1.5}),
    ("classical_fourier", 16, 2, {"n_angles": 2, "n_features": 3}),
    ("pam", 16, 2, {"states": 2, "qk_norm": True}),
    ("pam", 16, 2, {"decay": False}),
    ("qsa_cp", 16, 2, {"token_shift": True, "numbers": "real"}),
    ("kernel", 16, 2, {"coupling": 0.5, "n_qubits": 2}),
    ("qisa_a", 16, 2, {"score": "dot", "observables": "random", "bias": False}),
    ("qisa_a", 16, 2, {"register": "head"}),
    ("qsann", 16, 2, {"register": "head"}),
    ("vqc", 24, 3, {"layers": 2, "n_qubits": 3}),
    ("orthogonal", 24, 3, {"score": "dot", "values": "absolute", "layout": "pyramid"}),
]


def case_id(case):
    name, hidden_size, num_heads, options = case
    return "-".join([name, f"{hidden_size}x{num_heads}", *(f"{k}={v}" for k, v in options.items())])
