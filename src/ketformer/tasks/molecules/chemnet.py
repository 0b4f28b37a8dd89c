"""ChemNet's activations, and the Fréchet distance between them (Preuer et al. 2018).

The network is fcd_torch's. The rest of fcd_torch 1.0.7 calls numpy.row_stack, which NumPy 2
deprecates, and scipy.linalg.sqrtm with an argument that SciPy 1.18 removes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from ketformer.errors import KetformerError


class Moments(NamedTuple):
    """Mean ``[D]`` and covariance ``[D, D]``, over number - 1, of rows of activations."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def import_fcd_torch() -> Any:
    """The package.

    Raises:
        KetformerError: it is not installed.
    """
    try:
        return importlib.import_module("fcd_torch")
    except ImportError:
        raise KetformerError(
            "the Fréchet ChemNet distance needs fcd_torch: pip install 'ketformer[molecules]'"
        ) from None


def has_fcd_torch() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("fcd_torch") is not None


def chemnet(device: str | torch.device) -> torch.nn.Module:
    """The network alone, in evaluation mode.

    Raises:
        KetformerError: fcd_torch is not installed.
    """
    network: torch.nn.Module = import_fcd_torch().FCD(device="cpu").model
    return network.to(device)


@torch.inference_mode()
def activations(
    network: torch.nn.Module, smiles: Sequence[str], bar: tqdm[Any]
) -> NDArray[np.float64]:
    """ChemNet's activations ``[N, 512]`` for SMILES canonicalised and encoded by fcd_torch."""
    dataset = importlib.import_module("fcd_torch.utils").SmilesDataset(list(smiles))
    device = next(network.parameters()).device
    rows = []
    for batch in DataLoader(dataset, batch_size=512):
        rows.append(network(batch.mT.float().to(device)).cpu())
        bar.update(len(batch))
    return torch.cat(rows).double().numpy()


def moments(rows: NDArray[np.float64]) -> Moments:
    """Those of at least two rows ``[N, D]``."""
    return Moments(rows.mean(axis=0), np.cov(rows, rowvar=False))


def frechet(some: Moments, others: Moments) -> float:
    """Squared Fréchet distance of the normal distributions with these moments.

    With covariances C = R Rᵀ and D = S Sᵀ, the trace of (C D)^½ is the sum of the singular values
    of Rᵀ S: no square root of an almost singular product, and no imaginary parts to drop.
    """
    roots = []
    for covariance in (some.covariance, others.covariance):
        values, vectors = np.linalg.eigh(covariance)
        roots.append(vectors * np.sqrt(np.maximum(values, 0)))
    overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    apart = some.mean - others.mean
    traces = np.trace(some.covariance) + np.trace(others.covariance)
    return max(0.0, float(apart @ apart + traces - 2 * overlap))
