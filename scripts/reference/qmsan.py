"""`qmsan`: mixed states, scores and values of one layer, and of the head in qGPT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ketformer.attention import build_attention
from ketformer.attention.qmsan import QMSAN
from reference import Case, load, mask_of, set_identity


def outputs(case: Case) -> dict[str, Tensor]:
    """Everything that the file stores."""
    of_amplitudes = "head_dim" in case.config
    attention, softmax = (_built(case, how, of_amplitudes) for how in ("sum", "softmax"))
    hidden = case.inputs["x"][None]
    query, key, values = attention.project(hidden)
    query, key, values = query[0, 0], key[0, 0], values[0, 0]
    rho, sigma = (_states(features, attention) for features in (query, key))
    mask = mask_of(hidden.shape[1], causal=case.choice("causal", (True, False)))
    weights = attention(hidden, mask=mask, return_weights=True)[1][0, 0]
    # The stored softmax is of the score itself: the temperature takes out our factor.
    softmax.initial_temperature = softmax.dot_scale(1)
    mixed = weights @ values
    return {
        "rho": rho,
        "sigma": sigma,
        "purity_rho": (rho @ rho).diagonal(dim1=-2, dim2=-1).sum(-1).real,
        "scores": query @ key.mT,
        "weights": weights,
        "values": values,
        "mixed": mixed,
        # The residual is that of the block.
        "output": mixed if of_amplitudes else hidden[0] + attention(hidden, mask=mask)[0][0],
        "softmax_weights": softmax(hidden, mask=mask, return_weights=True)[1][0, 0],
    }


def _built(case: Case, normalise: str, of_amplitudes: bool) -> QMSAN:
    options = {"normalise": normalise, "kept_qubits": case.size("kept")}
    given = case.parameters
    if of_amplitudes:
        heads = case.size("d") // case.size("head_dim")
        attention = build_attention("qmsan", case.size("d"), heads, encoding="amplitude", **options)
    else:
        n = case.size("n_qubits")
        entangling = case.choice("entangling", (True, False))
        attention = build_attention(
            "qmsan",
            n,
            1,
            n_qubits=n,
            layers=case.size("layers"),
            entanglement="chain" if entangling else "none",
            **options,
        )
    assert isinstance(attention, QMSAN)
    attention.double().eval()
    set_identity(attention.out_proj)
    if of_amplitudes:
        assert attention.value_proj is not None
        load("Wv", attention.value_proj.weight[: case.size("head_dim")], given["Wv"])
        return attention
    assert attention.angle_proj is not None
    nn.init.eye_(attention.angle_proj.weight)
    for name, theta in zip(("theta_q", "theta_k", "theta_v"), attention.theta, strict=True):
        stored = given[name]
        if not entangling:  # the file keeps the angles of the gates that are left out
            stored = stored.unflatten(0, (-1, 2 * n - 1))[:, n - 1 :].flatten()
        load(name, theta[0], stored)
    return attention


def _states(features: Tensor, attention: QMSAN) -> Tensor:
    """The density matrices of features ``[T, 4^m]``: 2^-m times the sum of <P> P."""
    kept = attention.kept_qubits
    names = [string[:kept] for string in attention.strings.strings]
    paulis = torch.stack([_dense(name) for name in ("I" * kept, *names)])
    return torch.einsum("tp,pab->tab", features.to(paulis.dtype), paulis) * 2 ** (-kept / 2)


def _dense(string: str) -> Tensor:
    single = {
        "I": [[1, 0], [0, 1]],
        "X": [[0, 1], [1, 0]],
        "Y": [[0, -1j], [1j, 0]],
        "Z": [[1, 0], [0, -1]],
    }
    matrix = torch.ones(1, 1, dtype=torch.complex128)
    for letter in string:
        matrix = torch.kron(matrix, torch.tensor(single[letter], dtype=torch.complex128))
    return matrix
