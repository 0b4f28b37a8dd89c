"""`qmsan`: its published cases, its states gate by gate, and its classical twin."""

import itertools

import pytest
import torch

from ketformer.attention import attention_mask, build_attention
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.pauli_transfer import pauli_coordinates, transfer
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import pauli_expectations, run

from .helpers import (
    ROTARY,
    assert_equal_to,
    assert_relative,
    build,
    dense_pauli,
    everything,
    tokens,
)

OPTIONS = [
    {},
    {"n_qubits": 3, "layers": 2, "entanglement": "ring"},
    {"n_qubits": 2, "kept_qubits": 2},
    {"n_qubits": 1},
    {"entanglement": "none"},
    {"encoding": "amplitude"},
]


def states_of(features, kept):
    """Density matrices from features: 2^-m times the sum of <P> P."""
    letters = ["".join(string) for string in itertools.product("IXYZ", repeat=kept)]
    paulis = torch.stack([dense_pauli(string) for string in letters])
    return torch.einsum("tp,pab->tab", features.to(paulis), paulis) * 2 ** (-kept / 2)


# --- The published cases -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["published", "two_qubits", "causal", "separable", "qgpt"])
def test_everythings(name, reference_cases):
    config, case = everything(reference_cases("qmsan")[name])
    n, kept = config["n_qubits"], config["kept"]
    if name == "qgpt":
        width, heads = config["d"], config["d"] // config["head_dim"]
        attention = build("qmsan", width, heads, encoding="amplitude").double()
        attention.value_proj.weight.data[: config["head_dim"]] = case["Wv"]
    else:
        links = "chain" if config["entangling"] else "none"
        options = {"n_qubits": n, "layers": config["layers"], "entanglement": links}
        attention = build("qmsan", n, 1, **options).double()
        attention.angle_proj.weight.data = torch.eye(n, dtype=torch.float64)
        theta = torch.stack([case[f"theta_{side}"] for side in "qkv"])
        if not config["entangling"]:
            theta = theta.unflatten(-1, (-1, 2 * n - 1))[..., n - 1 :].flatten(1)
        attention.theta.data[:, 0] = theta
    attention.out_proj.weight.data = torch.eye(attention.hidden_size, dtype=torch.float64)
    attention.out_proj.bias.data.zero_()
    hidden = case["x"][None]
    mask = None if config["causal"] else torch.ones(1, 1, *hidden.shape[1:2] * 2).bool()
    query, key, values = (part[0, 0] for part in attention.project(hidden))
    output, weights = attention(hidden, mask=mask, return_weights=True)
    found = {
        "rho": states_of(query, kept),
        "scores": query @ key.mT,
        "weights": weights[0, 0],
        "values": values,
        "mixed": output[0, :, : attention.head_dim],
    }
    if name != "qgpt":
        rho = found["rho"]
        found["sigma"] = states_of(key, kept)
        found["purity_rho"] = torch.einsum("tab,tba->t", rho, rho).real
        found["output"] = hidden[0] + output[0]  # the block's residual
        logits = found["scores"].masked_fill(
            ~attention_mask(*weights.shape[-2:])[0, 0] if mask is None else ~mask[0, 0], -torch.inf
        )
        assert_equal_to(1e-10, logits.softmax(-1), case["softmax_weights"])
    for key, expected in case.items():
        if key in found:
            assert_equal_to(1e-10, found[key], expected)


# --- The closed form against the gates ---------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
def test_features_are_expectations_in_the_simulated_states(options):
    """And scores the overlap of the reduced density matrices."""
    attention = build("qmsan", 8, 2, train_circuit=False, **options).double()
    hidden = tokens(1, 3, 8).double()
    measured = attention.experiments(hidden)
    parts = dict(zip(("query", "key"), attention.project(hidden), strict=False))
    n, kept = attention.n_qubits, attention.kept_qubits
    reduced = []
    for name, features in parts.items():
        experiment = measured[name][1]
        states = run(experiment.circuit, experiment.angles)[0]
        expected = pauli_expectations(states, experiment.strings) * 2 ** (-kept / 2)
        assert_equal_to(1e-12, features[0, 1, :, 1:], expected)
        split = states.unflatten(-1, (2**kept, 2 ** (n - kept)))
        reduced.append(split @ split.mH)
    scores = torch.einsum("iab,jba->ij", *reduced).real
    assert_equal_to(1e-12, parts["query"][0, 1] @ parts["key"][0, 1].mT, scores)


def test_states_are_mixed_only_by_gates_between_qubits_and_a_trace():
    hidden = tokens(1, 4, 8).double()
    for options, pure in (
        ({}, False),
        ({"entanglement": "none"}, True),
        ({"kept_qubits": 4}, True),
    ):
        attention = build("qmsan", 8, 2, train_circuit=False, **options).double()
        purity = attention.project(hidden)[0].square().sum(-1)
        assert bool((purity > 1 - 1e-12).all()) == pure
        assert float(purity.detach().max()) < 1 + 1e-12


def test_the_transfer_matrix_is_what_the_formula_says():
    generator = torch.Generator().manual_seed(0)
    unitary = torch.linalg.qr(torch.randn(4, 4, dtype=torch.complex128, generator=generator))[0]
    found = transfer(unitary, ("II", "IX", "IY", "IZ"))
    for row, before in enumerate(itertools.product("IYZ", repeat=2)):
        for column, letter in enumerate("IXYZ"):
            p, q = dense_pauli("I" + letter), dense_pauli("".join(before))
            expected = (p @ unitary @ q @ unitary.mH).trace().real / 4
            assert_equal_to(1e-13, found[column, row], expected)


def test_coordinates_are_traces_with_pauli_strings():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 4, 4, dtype=torch.complex128, generator=generator)
    found = pauli_coordinates(matrix, "XZ")
    strings = [dense_pauli(s) for s in ("XX", "XZ", "ZX", "ZZ")]
    expected = [torch.einsum("ab,nba->n", string, matrix) for string in strings]
    assert_equal_to(1e-13, found, torch.stack(expected, dim=-1))


# --- What it is as attention -------------------------------------------------------------------


@pytest.mark.parametrize("check", [c for c in CONFORMANCE if c.name != "compiled"], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "amplitude", "inputs": ROTARY},
        {"n_qubits": 2, "kept_qubits": 2, "inputs": ROTARY, "bias": True},
        {"n_qubits": 2, "entanglement": "none", "normalise": "softmax"},
    ],
)
def test_other_options_do_what_they_must(check, options):
    check("qmsan", **options)


@pytest.mark.parametrize("name", ["qmsan", "classical_linear"])
def test_long_sequences_by_prefix_sums_equal_the_sums_over_pairs(name):
    attention = build(name, 8, 2).double()
    hidden = tokens(2, 150, 8).double()
    by_pairs = attention(hidden, mask=attention_mask(150, 150))[0]
    assert_equal_to(1e-10, attention(hidden)[0], by_pairs)


@pytest.mark.parametrize("options", OPTIONS[2:], ids=str)
def test_gradients_equal_finite_differences(options):
    attention = build("qmsan", 4, 1, **options).double()
    hidden = tokens(1, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention(x)[0], hidden)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_with_rotary_positions_the_score_depends_on_their_difference(options):
    assert_relative(build("qmsan", 8, 2, inputs=ROTARY, **options).double(), 1e-4)


def test_three_of_seven_published_angles_of_queries_and_keys_do_nothing():
    """Gates among qubits that are traced out, behind their last link with a kept one."""
    attention = build("qmsan", 8, 2).double()
    attention(tokens(1, 4, 8).double())[0].square().sum().backward()
    moves = (attention.theta.grad.abs() > 1e-12).all(1)  # [3, P]: three ZZ, four RY
    dead = [True, True, False, True, True, False, False]
    assert moves.tolist() == [dead, dead, [True] * 7]


def test_the_twin_has_as_many_features_and_no_negative_score():
    twin, attention = build("classical_linear", 8, 2).double(), build("qmsan", 8, 2).double()
    hidden = tokens(1, 9, 8).double()
    query, key, _ = twin.project(hidden)
    assert query.shape == attention.project(hidden)[0].shape
    linear = twin.qk_proj(hidden)[..., :32]
    expected = torch.where(linear > 0, linear + 1, linear.exp())
    assert_equal_to(1e-12, query, twin.split_heads(expected))
    assert (query @ key.mT >= 0).all()


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"kept_qubits": 5}, KetformerError, "between 1 and 4, got 5"),
        ({"kept_qubits": 0}, KetformerError, "between 1 and 4, got 0"),
        ({"layers": 0}, KetformerError, "layers must be positive"),
        ({"entanglement": "star"}, KetformerError, "chain, ring, none"),
        ({"encoding": "amplitude", "n_qubits": 3}, KetformerError, "requires encoding=rx"),
        ({"encoding": "amplitude", "entanglement": "none"}, NotOfferedError, "has no circuit"),
        ({"encoding": "amplitude", "train_circuit": False}, NotOfferedError, "has no circuit"),
    ],
)
def test_what_it_does_not_have_is_refused(options, error, told):
    with pytest.raises(error, match=told) as caught:
        build_attention("qmsan", 8, 2, **options)
    assert "\n" not in str(caught.value)


def test_a_twin_without_features_is_refused():
    with pytest.raises(KetformerError, match="n_features must be positive"):
        build_attention("classical_linear", 8, 2, n_features=0)
