"""States on fewer qubits against principal components computed otherwise."""

import numpy as np
import pytest
import torch

from ketformer.quantum import compressed

from .test_bond_dimension import states


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_all_qubits_change_nothing_and_zero_stays_zero(dtype):
    sets = [states(3, dtype=dtype), 2 * states(3, dtype=dtype, seed=1).reshape(2, 3, 8)]
    sets[0][0] = 0
    for found, given in zip(compressed(sets, 3), sets, strict=True):
        torch.testing.assert_close(found, given, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n_qubits", [0, 1, 2])
def test_it_is_the_projection_on_the_leading_singular_vectors(n_qubits):
    sets = [states(3), states(3, seed=1)]
    every = torch.cat(sets).numpy()
    _, _, vectors = np.linalg.svd(every)  # the rows of the last are the directions
    basis = vectors[: 2**n_qubits]
    projected = every @ basis.conj().T @ basis
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    found = torch.cat(compressed(sets, n_qubits)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert np.linalg.matrix_rank(found, tol=1e-9) == 2**n_qubits


def test_states_that_fit_lose_nothing():
    """Any two states span a space that one qubit holds."""
    two = states(4, count=2)
    single = two[torch.tensor([0, 1, 0])]
    torch.testing.assert_close(compressed([single], 1)[0], single, atol=1e-10, rtol=0)


def test_the_type_is_kept():
    assert compressed([states(2).to(torch.complex64)], 1)[0].dtype == torch.complex64
    assert compressed([states(2, dtype=torch.float32).bfloat16()], 1)[0].dtype == torch.bfloat16
