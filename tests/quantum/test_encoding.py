"""Features become amplitudes of norm one, whatever their size and type."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import amplitude_encode, qubits_for
from ketformer.quantum.encoding import pad_amplitudes

from .helpers import assert_equal_to, seeds


@pytest.mark.parametrize(
    ("n_features", "n_qubits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (64, 6)]
)
def test_qubits_for(n_features, n_qubits):
    assert qubits_for(n_features) == n_qubits
    assert amplitude_encode(torch.ones(n_features)).shape == (2**n_qubits,)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), seeds)
def test_the_direction_stays_and_the_norm_is_one(n_features, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 2, n_features, generator=generator, dtype=torch.float64)
    state = amplitude_encode(features)
    assert_equal_to(1e-14, state.norm(dim=-1), torch.ones(3, 2))
    unit = features / features.norm(dim=-1, keepdim=True)
    assert_equal_to(1e-14, state[..., :n_features], unit)
    assert not state[..., n_features:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_is_kept(dtype):
    features = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    state = amplitude_encode(features)
    assert state.dtype is dtype
    assert_equal_to(4 * torch.finfo(dtype).eps, state.double().norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float16, 6e4),
        (torch.float16, 1e-6),
        (torch.bfloat16, 1e38),
        (torch.bfloat16, 1e-37),
        (torch.float32, 1e38),
        (torch.float32, 1e-37),
        (torch.float64, 1e300),
        (torch.float64, 1e-300),
    ],
)
def test_huge_and_tiny_vectors_neither_overflow_nor_vanish(dtype, scale):
    """The squares of these entries are outside the type's range."""
    pattern = torch.tensor([1, -0.5, 0.25, 1])
    features = (pattern.double() * scale).to(dtype)
    expected = features.double() / features.double().abs().max()
    expected = expected / expected.norm()
    assert_equal_to(4 * torch.finfo(dtype).eps, amplitude_encode(features).double(), expected)


def test_a_zero_vector_stays_zero_with_a_finite_gradient():
    features = torch.stack([torch.zeros(3), torch.tensor([3.0, 0.0, 4.0])]).requires_grad_()
    state = amplitude_encode(features)
    assert state[0].tolist() == [0, 0, 0, 0]
    assert_equal_to(1e-6, state[1], torch.tensor([0.6, 0, 0.8, 0]))
    state.sum().backward()
    assert features.grad.isfinite().all()


def test_padding_alone_does_not_normalise():
    features = torch.tensor([[3.0, 4.0, 5.0]])
    assert pad_amplitudes(features, 3).tolist() == [[3, 4, 5, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda: amplitude_encode(torch.ones(5), n_qubits=2), "5 features do not fit into 2"),
        (lambda: pad_amplitudes(torch.ones(9), 3), "9 features do not fit into 3 qubits"),
        (lambda: amplitude_encode(torch.ones(2, 0)), "cannot encode 0 features"),
    ],
)
def test_mistakes(encode, message):
    with pytest.raises(ValueError, match=message):
        encode()
