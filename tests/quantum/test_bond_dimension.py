"""Truncated states against the singular values of every cut."""

import pytest
import torch

from ketformer.quantum import truncated


def states(n_qubits, *, count=6, dtype=torch.complex128, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, count, 2**n_qubits, generator=generator, dtype=torch.float64)
    found = torch.complex(*drawn) if dtype.is_complex else drawn[0]
    return (found / found.norm(dim=-1, keepdim=True)).to(dtype)


def ranks(state, n_qubits):
    cuts = (state.reshape(2**k, -1) for k in range(1, n_qubits))
    return [int(torch.linalg.matrix_rank(cut, atol=1e-9)) for cut in cuts]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 5, 6])
def test_a_large_bond_dimension_changes_nothing(n_qubits, dtype):
    whole = states(n_qubits, dtype=dtype)
    found = truncated(whole, 2 ** (n_qubits // 2))
    torch.testing.assert_close(found, whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("bond_dimension", [1, 2, 3])
def test_no_cut_has_more_coefficients(bond_dimension):
    for state in truncated(states(5), bond_dimension):
        assert max(ranks(state, 5)) == bond_dimension
        assert float(state.norm()) == pytest.approx(1, abs=1e-12)


def test_of_two_qubits_the_best_approximation_is_kept():
    """Eckart and Young: the largest singular value and its vectors, renormalised."""
    for state in states(2):
        left, values, right = torch.linalg.svd(state.reshape(2, 2))
        best = torch.outer(left[:, 0], right[0]).reshape(4)
        found = truncated(state, 1)
        assert float((found.conj() @ state).abs()) == pytest.approx(float(values[0]), abs=1e-12)
        assert float((found.conj() @ best).abs()) == pytest.approx(1, abs=1e-12)


def test_product_states_are_left_alone_and_zero_stays_zero():
    single = states(1, count=4)
    product = single[0]
    for qubit in single[1:]:
        product = torch.kron(product, qubit)
    torch.testing.assert_close(truncated(product, 1), product, atol=1e-12, rtol=0)
    assert truncated(torch.zeros(3, 8), 1).eq(0).all()


def test_norm_and_type_are_kept():
    scaled = 7 * states(3, dtype=torch.float32)
    found = truncated(scaled, 1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.full((6,), 7.0))
    assert truncated(scaled.bfloat16(), 1).dtype == torch.bfloat16
