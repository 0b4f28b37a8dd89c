"""Similarity of generated and held-out molecules, as distributions.

The metrics are those of MOSES (Polykovskiy et al. 2020) and GuacaMol (Brown et al. 2019);
the implementations are our own. Generated molecules count as often as they were generated.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.scaffolds import scaffold_of

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_BITS = 1024
_ROWS = 1_000  # rows of similarities held at once: 40 MB against 10,000 molecules


def snn(generated: Sequence[str], reference: Sequence[str]) -> float:
    """Similarity to the nearest neighbour, in [0, 1].

    The largest Tanimoto similarity to a reference molecule, averaged over the generated
    ones, for Morgan fingerprints of radius 2 folded to 1,024 bits, as in MOSES.

    Raises:
        KetformerError: a side is empty or holds an invalid molecule.
    """
    nearest = [
        table.max(axis=1) for table in _tanimoto(_fingerprints(generated), _fingerprints(reference))
    ]
    return float(np.concatenate(nearest).mean(dtype=np.float64))


def internal_diversity(generated: Sequence[str], p: int = 1) -> float:
    """``1 - (mean of T(a, b)^p)^(1/p)`` over all pairs a, b, including a molecule with itself.

    T is the Tanimoto similarity of :func:`snn`. The formula is that of MOSES' paper; its
    code takes the root for each molecule before it averages, which differs for p > 1.

    Raises:
        KetformerError: there are no molecules, or an invalid one.
    """
    prints = _fingerprints(generated)
    total = sum(float((table**p).sum(dtype=np.float64)) for table in _tanimoto(prints, prints))
    return float(1 - (total / len(prints) ** 2) ** (1 / p))


def fragment_similarity(generated: Sequence[str], reference: Sequence[str]) -> float:
    """Cosine between the two sides' counts of BRICS fragments, in [0, 1].

    Every molecule is cut at all its BRICS bonds (Degen et al. 2008); the fragments keep
    the numbers of their attachment points.

    Raises:
        KetformerError: a side is empty or holds an invalid molecule.
    """
    similarity = _cosine(_fragments(generated), _fragments(reference))
    assert similarity is not None  # every molecule has a fragment, if only itself
    return similarity


def scaffold_similarity(generated: Sequence[str], reference: Sequence[str]) -> float | None:
    """Cosine between the two sides' counts of Bemis-Murcko scaffolds, in [0, 1].

    As in the code of MOSES, only scaffolds of at least two rings count: those without
    rings are empty, and single rings would outweigh all others.

    Returns:
        The cosine, or None if a side has no such scaffold.

    Raises:
        KetformerError: a side is empty or holds an invalid molecule.
    """
    return _cosine(_scaffolds(generated), _scaffolds(reference))


def fcd(
    generated: Sequence[str],
    reference: Sequence[str],
    device: str | torch.device = "cpu",
    *,
    progress: bool = False,
) -> float:
    """Fréchet ChemNet distance (Preuer et al. 2018), with the network of fcd_torch.

    ``|m - n|² + tr(C + D - 2 (C D)^½)``, with m, n the means and C, D the covariances
    (over number - 1) of ChemNet's penultimate layer on each side. 0 is best; it falls
    with the number of molecules, so compare it at the same number. ChemNet reads up to 349
    characters of SMILES, and a mixture only up to its first dot.

    Raises:
        KetformerError: fcd_torch is not installed, or a side has fewer than two molecules
            or an invalid one.
    """
    network = _chemnet(device)
    for smiles in (generated, reference):
        if len(smiles) < 2:
            raise KetformerError("the Fréchet ChemNet distance needs two molecules on each side")
        _molecules(smiles)
    silent = not progress
    with tqdm(desc="fcd", total=len(generated) + len(reference), disable=silent) as bar:
        ours = _activations(network, generated, bar)
        theirs = _activations(network, reference, bar)
    return _frechet(ours, theirs)


def distribution_metrics(
    generated: Sequence[str],
    reference: Sequence[str],
    *,
    sample: int = 10_000,
    seed: int = 42,
    progress: bool = True,
    with_fcd: bool | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, float | int | None]:
    """All metrics above, computed on at most ``sample`` molecules of each side.

    Args:
        generated: the valid samples, repeats included. What RDKit refuses is left out.
        reference: held-out molecules.
        sample: larger sides are reduced to this many, drawn without replacement.
        seed: seed of that draw.
        progress: whether a bar is drawn on stderr for the Fréchet ChemNet distance.
        with_fcd: whether to compute that distance; None means if fcd_torch is installed.
        device: for ChemNet.

    Returns:
        ``generated`` and ``reference``, the numbers of molecules compared, and ``fcd``,
        ``snn``, ``internal_diversity``, ``fragment_similarity``, ``scaffold_similarity``.
        What cannot be computed is None: anything about an empty side, ``fcd`` for fewer
        than two molecules or without fcd_torch.

    Raises:
        KetformerError: ``with_fcd`` is True and fcd_torch is not installed.
    """
    if with_fcd is None:
        with_fcd = importlib.util.find_spec("fcd_torch") is not None
    elif with_fcd:
        _import_fcd_torch()  # fails before the work, not after it
    ours, theirs = _draw(generated, sample, seed), _draw(reference, sample, seed)
    both = bool(ours and theirs)
    enough = min(len(ours), len(theirs)) >= 2
    return {
        "generated": len(ours),
        "reference": len(theirs),
        "fcd": fcd(ours, theirs, device, progress=progress) if with_fcd and enough else None,
        "snn": snn(ours, theirs) if both else None,
        "internal_diversity": internal_diversity(ours) if ours else None,
        "fragment_similarity": fragment_similarity(ours, theirs) if both else None,
        "scaffold_similarity": scaffold_similarity(ours, theirs) if both else None,
    }


def _draw(smiles: Sequence[str], sample: int, seed: int) -> list[str]:
    drawn = smiles
    if len(smiles) > sample:
        drawn = random.Random(seed).sample(list(smiles), sample)
    return [text for text in drawn if parse(text) is not None]


def _molecules(smiles: Sequence[str]) -> list[Mol]:
    if not len(smiles):
        raise KetformerError("there are no molecules to compare")
    molecules = []
    for text in smiles:
        if (molecule := parse(text)) is None:
            raise KetformerError(f"{text!r} is not a molecule that RDKit accepts")
        molecules.append(molecule)
    return molecules


def _fingerprints(smiles: Sequence[str]) -> NDArray[np.float32]:
    """Fingerprints ``[N, 1024]`` of 0 and 1, as floats so that a matrix product counts common bits.

    That product is five times as fast as RDKit's BulkTanimotoSimilarity, and exact.
    """
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2, fpSize=_BITS)
    prints = np.empty((len(smiles), _BITS), dtype=np.float32)
    for row, molecule in enumerate(_molecules(smiles)):
        prints[row] = generator.GetFingerprintAsNumPy(molecule)
    return prints


def _tanimoto(
    some: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Common bits over the bits of either, for some rows at a time against all others."""
    bits = others.sum(axis=1)
    for start in range(0, len(some), _ROWS):
        rows = some[start : start + _ROWS]
        common = rows @ others.T
        # never 0 / 0: each atom sets a bit, and a molecule has atoms
        yield common / (rows.sum(axis=1)[:, None] + bits - common)


def _fragments(smiles: Sequence[str]) -> Counter[str]:
    from rdkit.Chem import MolToSmiles
    from rdkit.Chem.rdmolops import FragmentOnBRICSBonds

    counts: Counter[str] = Counter()
    for molecule in _molecules(smiles):
        counts.update(MolToSmiles(FragmentOnBRICSBonds(molecule)).split("."))
    return counts


def _scaffolds(smiles: Sequence[str], min_rings: int = 2) -> Counter[str]:
    found = (scaffold_of(molecule, min_rings) for molecule in _molecules(smiles))
    return Counter(scaffold for scaffold in found if scaffold)


def _cosine(some: Counter[str], others: Counter[str]) -> float | None:
    if not some or not others:
        return None
    product = sum(count * others[key] for key, count in some.items())
    norms = (sum(count**2 for count in counts.values()) for counts in (some, others))
    return product / math.sqrt(math.prod(norms))


def _import_fcd_torch() -> Any:
    try:
        return importlib.import_module("fcd_torch")
    except ImportError:
        raise KetformerError(
            "the Fréchet ChemNet distance needs fcd_torch: pip install 'ketformer[molecules]'"
        ) from None


def _chemnet(device: str | torch.device) -> torch.nn.Module:
    """The network alone, in evaluation mode.

    The rest of fcd_torch 1.0.7 calls numpy.row_stack, which NumPy 2 deprecates, and
    scipy.linalg.sqrtm with an argument that SciPy 1.18 removes: see the two functions below.
    """
    network: torch.nn.Module = _import_fcd_torch().FCD(device="cpu").model
    return network.to(device)


@torch.inference_mode()
def _activations(
    network: torch.nn.Module, smiles: Sequence[str], bar: tqdm[Any]
) -> NDArray[np.float64]:
    """ChemNet's activations ``[N, 512]`` for SMILES canonicalised and encoded by fcd_torch."""
    dataset = importlib.import_module("fcd_torch.utils").SmilesDataset(list(smiles))
    device = next(network.parameters()).device
    activations = []
    for batch in DataLoader(dataset, batch_size=512):
        activations.append(network(batch.mT.float().to(device)).cpu())
        bar.update(len(batch))
    return torch.cat(activations).double().numpy()


def _frechet(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Squared Fréchet distance of the normal distributions fitted to the rows of each side.

    With C = R Rᵀ and D = S Sᵀ, the trace of (C D)^½ is the sum of the singular values of
    Rᵀ S: no square root of an almost singular product, and no imaginary parts to drop.
    """
    means = some.mean(axis=0) - others.mean(axis=0)
    covariances = [np.cov(rows, rowvar=False) for rows in (some, others)]
    roots = []
    for covariance in covariances:
        values, vectors = np.linalg.eigh(covariance)
        roots.append(vectors * np.sqrt(np.maximum(values, 0)))
    overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    distance = means @ means + sum(np.trace(c) for c in covariances) - 2 * overlap
    return max(0.0, float(distance))
