"""Similarity of generated and held-out molecules, as distributions.

The metrics are those of MOSES (Polykovskiy et al. 2020) and GuacaMol (Brown et al. 2019);
the implementations are our own. Generated molecules count as often as they were generated.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.chemnet import (
    activations,
    chemnet,
    frechet,
    has_fcd_torch,
    import_fcd_torch,
    moments,
)
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
    nearest = [table.max(axis=1) for table in tanimoto(_floats(generated), _floats(reference))]
    return float(np.concatenate(nearest).mean(dtype=np.float64))


def internal_diversity(generated: Sequence[str], p: int = 1) -> float:
    """``1 - (mean of T(a, b)^p)^(1/p)`` over all pairs a, b, including a molecule with itself.

    T is the Tanimoto similarity of :func:`snn`. The formula is that of MOSES' paper; its
    code takes the root for each molecule before it averages, which differs for p > 1.

    Raises:
        KetformerError: there are no molecules, or an invalid one.
    """
    prints = _floats(generated)
    total = sum(float((table**p).sum(dtype=np.float64)) for table in tanimoto(prints, prints))
    return float(1 - (total / len(prints) ** 2) ** (1 / p))


def fragment_similarity(generated: Sequence[str], reference: Sequence[str]) -> float:
    """Cosine between the two sides' counts of BRICS fragments, in [0, 1].

    Every molecule is cut at all its BRICS bonds (Degen et al. 2008); the fragments keep
    the numbers of their attachment points.

    Raises:
        KetformerError: a side is empty or holds an invalid molecule.
    """
    similarity = cosine(*(count_fragments(_molecules(side)) for side in (generated, reference)))
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
    return cosine(*(count_scaffolds(_molecules(side)) for side in (generated, reference)))


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
    network = chemnet(device)
    for smiles in (generated, reference):
        if len(smiles) < 2:
            raise KetformerError("the Fréchet ChemNet distance needs two molecules on each side")
        _molecules(smiles)
    silent = not progress
    with tqdm(desc="fcd", total=len(generated) + len(reference), disable=silent) as bar:
        ours = activations(network, generated, bar)
        theirs = activations(network, reference, bar)
    return frechet(moments(ours), moments(theirs))


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
        with_fcd = has_fcd_torch()
    elif with_fcd:
        import_fcd_torch()  # fails before the work, not after it
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


def _floats(smiles: Sequence[str]) -> NDArray[np.float32]:
    return fingerprints(_molecules(smiles)).astype(np.float32)


def fingerprints(molecules: Sequence[Mol]) -> NDArray[np.uint8]:
    """Morgan fingerprints of radius 2, ``[N, 1024]`` of 0 and 1."""
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2, fpSize=_BITS)
    prints = np.empty((len(molecules), _BITS), dtype=np.uint8)
    for row, molecule in enumerate(molecules):
        prints[row] = generator.GetFingerprintAsNumPy(molecule)
    return prints


def tanimoto(
    some: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Common bits over the bits of either, for some rows at a time against all others.

    The fingerprints, of 0 and 1, are floats so that a matrix product counts common bits. That is
    five times as fast as RDKit's BulkTanimotoSimilarity, and exact.
    """
    bits = others.sum(axis=1)
    for start in range(0, len(some), _ROWS):
        rows = some[start : start + _ROWS]
        common = rows @ others.T
        # never 0 / 0: each atom sets a bit, and a molecule has atoms
        yield common / (rows.sum(axis=1)[:, None] + bits - common)


def count_fragments(molecules: Sequence[Mol]) -> Counter[str]:
    """The BRICS fragments of :func:`fragment_similarity`, as SMILES."""
    from rdkit.Chem import MolToSmiles
    from rdkit.Chem.rdmolops import FragmentOnBRICSBonds

    counts: Counter[str] = Counter()
    for molecule in molecules:
        counts.update(MolToSmiles(FragmentOnBRICSBonds(molecule)).split("."))
    return counts


def count_scaffolds(molecules: Sequence[Mol]) -> Counter[str]:
    """The scaffolds of :func:`scaffold_similarity`, as SMILES."""
    found = (scaffold_of(molecule, min_rings=2) for molecule in molecules)
    return Counter(scaffold for scaffold in found if scaffold)


def cosine(some: Counter[str], others: Counter[str]) -> float | None:
    """The cosine between two counts, in [0, 1]; None if a side is empty."""
    if not some or not others:
        return None
    product = sum(count * others[key] for key, count in some.items())
    norms = (sum(count**2 for count in counts.values()) for counts in (some, others))
    return product / math.sqrt(math.prod(norms))
