"""Matrices cached between calls follow their angles, however these change."""

import copy

import pytest
import torch

from ketformer.attention import build_attention
from ketformer.attention.shared_unitary import KeptUnitary
from ketformer.quantum import entangling_ansatz, unitary

CIRCUIT = entangling_ansatz(2)


def angles():
    return torch.nn.Parameter(torch.randn(3, len(CIRCUIT.parameters), dtype=torch.float64))


def test_a_matrix_is_built_once_while_its_angles_stay():
    kept, own = KeptUnitary(CIRCUIT), angles()
    with torch.no_grad():
        first = kept(own)
        assert kept(own) is first
        torch.testing.assert_close(first, unitary(CIRCUIT, own), atol=0, rtol=0)


def in_place(parameter):
    with torch.no_grad():
        parameter.add_(0.1)


def past_autograd(parameter):
    parameter.data.add_(0.1)


def one_entry(parameter):
    parameter.data[0, 0] = 5.0


def to_single(parameter):
    parameter.data = parameter.data.float()


@pytest.mark.parametrize("change", [in_place, past_autograd, one_entry, to_single])
def test_a_change_is_seen_at_once(change):
    kept, own = KeptUnitary(CIRCUIT), angles()
    with torch.no_grad():
        kept(own)
        change(own)
        assert torch.equal(kept(own), unitary(CIRCUIT, own))


def test_gradients_flow_after_an_evaluation_in_inference_mode():
    kept, own = KeptUnitary(CIRCUIT), angles()
    with torch.inference_mode():
        kept(own)
    kept(own).real.sum().backward()
    assert own.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["qisa_a", "qsann", "overlap"])
def test_a_trained_mechanism_is_evaluated_with_its_new_angles(name):
    torch.manual_seed(0)
    attention = build_attention(name, 8, 2).double()
    states = torch.randn(1, 4, 8, dtype=torch.float64)
    with torch.no_grad():
        attention(states)
    optimizer = torch.optim.SGD(attention.parameters(), lr=0.5)
    attention(states)[0].square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        found = attention(states)[0]
    expected = copy.deepcopy(attention)(states)[0]  # with gradients, it is rebuilt
    torch.testing.assert_close(found, expected.detach(), atol=1e-14, rtol=0)
