"""Circuits without entanglement or training, and quadratic values without circuits."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.attention import build_attention
from ketformer.errors import KetformerError
from ketformer.quantum import run

from .helpers import assert_equal_to, build, tokens

CIRCUITS = ["qsann", "qisa_a", "overlap"]


def angles_of(attention):
    return [v for name, v in attention.state_dict().items() if name.endswith("angles")]


@pytest.mark.parametrize("name", CIRCUITS)
def test_without_entanglement_no_gate_touches_two_qubits(name):
    plain, entangled = (build(name, 8, 2, entanglement=kind) for kind in ("none", "ring"))
    assert all(len(gate.qubits) == 1 for gate in plain.circuit.gates)
    assert any(len(gate.qubits) == 2 for gate in entangled.circuit.gates)
    assert plain.circuit.parameters == entangled.circuit.parameters
    for attention in (plain, entangled):  # `overlap` starts with U_Q = U_K, so rings would cancel
        for seed, angles in enumerate(angles_of(attention)):
            torch.nn.init.uniform_(angles, 0, 6, generator=torch.Generator().manual_seed(seed))
    hidden_states = tokens(2, 5, 8)
    assert not torch.allclose(plain(hidden_states)[0], entangled(hidden_states)[0], atol=1e-4)


def test_without_entanglement_an_overlap_is_a_product_over_qubits():
    attention = build("overlap", 8, 2, entanglement="none", n_qubits=3).double()
    query, key, _ = attention.project(tokens(1, 4, 8).double())
    circuit, angles = attention.whole_circuit(tokens(1, 4, 8).double(), None)
    # RY angles add up: a qubit's overlap is the cosine of half the difference of its angles.
    turns = angles.unflatten(-1, (2, 3)).sum(-2)  # [2, B, H, T, n]
    by_qubit = ((turns[0][..., :, None, :] - turns[1][..., None, :, :]) / 2).cos()
    assert_equal_to(1e-12, query @ key.mT, by_qubit.prod(-1))
    assert_equal_to(1e-12, query[0, 0], run(circuit, angles[0, 0, 0]).to(query.dtype))


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_random_circuit_is_not_trained(name):
    attention = build(name, 8, 2, train_circuit=False).train()
    before = [angles.clone() for angles in angles_of(attention)]
    assert before
    assert all(1 < angles.max() <= 2 * math.pi for angles in before)
    optimizer = torch.optim.AdamW(attention.parameters(), lr=0.1)
    attention(tokens(2, 5, 8))[0].square().sum().backward()
    optimizer.step()
    for old, new in zip(before, angles_of(attention), strict=True):
        assert torch.equal(old, new)
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in attention.parameters())
    trained = build(name, 8, 2)
    assert attention.state_dict().keys() == trained.state_dict().keys()
    count, count_trained = (sum(p.numel() for p in a.parameters()) for a in (attention, trained))
    assert count_trained - count == sum(angles.numel() for angles in before)  # what is trained


def test_a_random_circuit_is_random_and_stays_so_when_it_is_saved(tmp_path):
    config = KetformerConfig(
        attention="overlap", vocab_size=7, hidden_size=8, num_attention_heads=2,
        num_hidden_layers=1, attention_options={"train_circuit": False},
    )  # fmt: skip
    model = KetformerForCausalLM(config)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    names = [name for name in model.state_dict() if name.endswith("_angles")]
    assert len(names) == 2
    for name in names:
        assert torch.equal(model.state_dict()[name], again.state_dict()[name])
    assert not {*names} & {name for name, _ in again.named_parameters()}


@pytest.mark.parametrize("name", CIRCUITS)
def test_an_unknown_entanglement_is_a_mistake(name):
    with pytest.raises(KetformerError, match="entanglement must be one of ring, none, got 'all'"):
        build_attention(name, 8, 2, entanglement="all")


def test_quadratic_values_are_forms_with_the_spectrum_of_a_pauli_string():
    attention = build("classical_quadratic", 12, 3).double()
    forms = attention.forms
    assert forms.shape == (4, 4, 4)
    assert_equal_to(1e-6, forms, forms.mT)
    assert_equal_to(1e-6, forms @ forms, torch.eye(4).double().expand(4, 4, 4))
    assert_equal_to(1e-6, forms.diagonal(dim1=-2, dim2=-1).sum(-1), torch.zeros(4).double())
    assert forms.abs().max(dim=-1).values.min() < 0.99  # not a signed permutation, unlike Pauli's
    hidden_states = tokens(1, 5, 12).double()
    value = attention.project(hidden_states)[2]
    maps = attention.state_proj.weight.unflatten(0, (3, 4))  # [H, D, d]
    for head in range(3):
        for position in range(5):
            state = maps[head] @ hidden_states[0, position]
            by_hand = torch.stack([state @ form @ state for form in forms])
            assert_equal_to(1e-12, value[0, head, position], by_hand)
    assert_equal_to(0, attention.project(-hidden_states)[2], value)


def test_quadratic_values_have_as_many_parameters_as_qisa():
    count = [
        sum(p.numel() for p in build(name, 32, 2).parameters())
        for name in ("qisa", "classical_quadratic")
    ]
    assert count[0] == count[1]
    with pytest.raises(KetformerError, match="hilbert_dim must be positive, got 0"):
        build_attention("classical_quadratic", 12, 3, hilbert_dim=0)
