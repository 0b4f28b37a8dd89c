"""Value maps and QSANN's queries and keys, against dense matrices and circuits per token."""

import math

import pytest
import torch

from ketformer.attention.observables import PauliObservables
from ketformer.quantum import (
    PauliStrings,
    angle_encoding,
    entangling_ansatz,
    pauli_expectations,
    run,
    unitary,
)

from .helpers import assert_equal_to, build, dense_pauli, tokens

EXACT = 1e-12


def values_of(attention, hidden_states):
    """The values ``[B, T, H, head_dim]``."""
    return attention.project(hidden_states)[2].transpose(1, 2)


def padded(vectors, width):
    return torch.nn.functional.pad(vectors, (0, width - vectors.shape[-1]))


@pytest.mark.parametrize("hilbert_dim", [None, 3, 5, 12])
def test_qisa_values_are_quadratic_forms(hilbert_dim):
    """v_h(x) = x^T L^T P_h L x, with L's rows padded with zeros to 2^n."""
    attention = build("qisa", 12, 3, hilbert_dim=hilbert_dim, observables="random").double()
    hidden_states = tokens(2, 4, 12).double()
    values = values_of(attention, hidden_states)
    maps = attention.state_proj.weight.unflatten(0, (3, -1)).mT  # [H, d, hilbert_dim]
    for head, strings in enumerate(attention.observables.strings):
        image = padded(maps[head], 2**strings.n_qubits).mT  # L: [2^n, d]
        for h, string in enumerate(strings.strings):
            form = image.mT @ dense_pauli(string).real @ image
            expected = torch.einsum("bti,ij,btj->bt", hidden_states, form, hidden_states)
            assert_equal_to(EXACT, values[:, :, head, h], expected)


@pytest.mark.parametrize("hidden_size", [6, 8])
def test_qisa_a_values_are_expectations_after_the_circuit(hidden_size):
    """v_h(x) = <psi|U† P_h U|psi> with psi = x / |x|; the states are complex, so odd Y count."""
    attention = build("qisa_a", hidden_size, 2)
    strings = ("YII", "XYZ", "IYY", "ZII", "IXI", "YYY", "ZZZ", "XIY")
    heads = (strings[: attention.head_dim], strings[-attention.head_dim :])
    sets = [PauliStrings(head) for head in heads]
    attention.observables = PauliObservables(sets, attention.circuit)
    attention.double()
    hidden_states = tokens(2, 4, hidden_size).double()
    values = values_of(attention, hidden_states)
    psi = hidden_states / hidden_states.norm(dim=-1, keepdim=True)
    psi = padded(psi, 8).to(torch.complex128)
    for head, strings in enumerate(attention.observables.strings):
        matrix = unitary(entangling_ansatz(3), attention.angles[head])
        for h, string in enumerate(strings.strings):
            observable = matrix.mH @ dense_pauli(string) @ matrix
            expected = torch.einsum("bti,ij,btj->bt", psi.conj(), observable, psi).real
            assert_equal_to(EXACT, values[:, :, head, h], expected)


@pytest.mark.parametrize("name", ["qisa", "qisa_a", "qsann"])
def test_values_on_amplitudes_are_even(name):
    """A global sign is not observable: v(x) = v(-x)."""
    attention = build(name, 12, 3)
    hidden_states = tokens(2, 4, 12)
    assert torch.equal(values_of(attention, hidden_states), values_of(attention, -hidden_states))


def test_qisa_values_grow_with_the_square_and_qisa_a_values_do_not_grow():
    hidden_states = tokens(2, 4, 12).double()
    qisa, qisa_a = build("qisa", 12, 3).double(), build("qisa_a", 12, 3).double()
    assert_equal_to(EXACT, values_of(qisa, 2 * hidden_states), 4 * values_of(qisa, hidden_states))
    assert_equal_to(EXACT, values_of(qisa_a, 2 * hidden_states), values_of(qisa_a, hidden_states))
    assert (values_of(qisa_a, hidden_states).abs() <= 1).all()


def encoded_by_amplitudes(token):
    n_qubits = math.ceil(math.log2(len(token)))
    return n_qubits, padded(token / token.norm(), 2**n_qubits)


def encoded_by_angles(token, n_qubits):
    """Features as angles, with 0 for the circuit's surplus angles."""
    encoder = angle_encoding(len(token), n_qubits)
    return n_qubits, run(encoder, padded(token, len(encoder.parameters)))


@pytest.mark.parametrize(
    ("options", "encode"),
    [
        ({}, encoded_by_amplitudes),
        ({"encoding": "angle"}, lambda token: encoded_by_angles(token, 4)),
        ({"encoding": "angle", "n_qubits": 3}, lambda token: encoded_by_angles(token, 3)),
    ],
    ids=["amplitude", "angle", "angle-on-3-qubits"],
)
@pytest.mark.parametrize("query_observables", ["z0", "pauli"])
def test_qsann_measures_three_circuits_on_every_token(options, encode, query_observables):
    attention = build("qsann", 12, 3, query_observables=query_observables, **options).double()
    hidden_states = tokens(1, 3, 12).double()
    maps = attention.project(hidden_states)  # queries, keys, values [B, H, T, w]
    assert maps[0].shape[-1] == (1 if query_observables == "z0" else 4)
    for t, token in enumerate(hidden_states[0]):
        n_qubits, state = encode(token)
        z0 = [PauliStrings(("Z" + "I" * (n_qubits - 1),))] * 3
        own = attention.query_observables.strings if query_observables == "pauli" else z0
        for measured, angles, strings in zip(
            maps, attention.angles, (own, own, attention.observables.strings), strict=True
        ):
            for head in range(3):
                circuit = unitary(entangling_ansatz(n_qubits), angles[head])
                final = circuit @ state.to(torch.complex128)
                expected = pauli_expectations(final, strings[head])
                assert_equal_to(EXACT, measured[0, head, t], expected)
