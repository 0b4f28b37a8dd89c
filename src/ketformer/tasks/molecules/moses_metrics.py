"""The metrics of MOSES (Polykovskiy et al. 2020), as its package molsets 0.3.1 computes them.

The implementation is our own. All valid molecules count as often as they were sampled, except in
uniqueness and novelty. The names of the keys say which test set a metric compares with: those with
``_scaffolds`` at the end the scaffold test set, the others the test set.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import map_chunks, parse
from ketformer.tasks.molecules.chemnet import (
    activations,
    chemnet,
    frechet,
    has_fcd_torch,
    import_fcd_torch,
    moments,
)
from ketformer.tasks.molecules.moses_reference import (
    VALUES,
    Reference,
    read_filters,
    read_reference,
)
from ketformer.tasks.molecules.packed import moses_smiles
from ketformer.tasks.molecules.similarity import (
    cosine,
    count_fragments,
    count_scaffolds,
    fingerprints,
    tanimoto,
)
from ketformer.utils.progress import Bars

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: MOSES' own two test sets, and what follows the name of a metric.
TESTS = {"test": "", "test_scaffolds": "_scaffolds"}

_UNIQUE_AT = {"1k": 1_000, "10k": 10_000}
_ATOMS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
_LARGEST_RING = 7
_BLOCK = 10_000  # reference fingerprints compared at once


@dataclass(frozen=True)
class Profile:
    """What the metrics need to know of valid molecules.

    Attributes:
        fingerprints: Morgan fingerprints of radius 2, ``[N, 1024]`` of 0 and 1.
        fragments: how often each BRICS fragment occurs.
        scaffolds: how often each Bemis-Murcko scaffold with two or more rings occurs.
        values: ``[N, 4]``, the properties :data:`~.moses_reference.VALUES`.
        passes: ``[N]``, whether each passes the filters.
    """

    fingerprints: NDArray[np.uint8]
    fragments: Counter[str]
    scaffolds: Counter[str]
    values: NDArray[np.float64]
    passes: NDArray[np.bool_]


def moses_metrics(
    sampled: Sequence[str | None],
    wheel: Path,
    *,
    with_fcd: bool | None = None,
    device: str | torch.device = "cpu",
    processes: int | None = None,
    progress: bool = True,
) -> dict[str, float | int | None]:
    """All metrics of MOSES, on its test set and its scaffold test set.

    Args:
        sampled: canonical SMILES in the order of sampling, None for a sample that is not valid.
        wheel: that of ``moses``.
        with_fcd: compute the Fréchet ChemNet distance; None means if fcd_torch is installed.
        device: for ChemNet.
        processes: at most that many; by default as many as there are processor cores.
        progress: show bars on stderr.

    Returns:
        ``moses_sampled``, the number of samples, and the metrics by their keys in
        :data:`~ketformer.tasks.metric.METRICS`. Without a valid sample only ``moses_valid`` is
        known; without fcd_torch or with fewer than two valid samples ``moses_fcd`` is not; without
        a scaffold of two rings ``moses_scaf`` is not.

    Raises:
        KetformerError: there are no samples, ``with_fcd`` is True and fcd_torch is not installed,
            the wheel lacks something, or a worker process was killed.
    """
    if not sampled:
        raise KetformerError("there are no samples to measure")
    if with_fcd is None:
        with_fcd = has_fcd_torch()
    elif with_fcd:
        import_fcd_torch()  # fails before the work, not after it
    valid = [smiles for smiles in sampled if smiles is not None]
    result: dict[str, float | int | None] = {
        "moses_sampled": len(sampled),
        "moses_valid": len(valid) / len(sampled),
    }
    if not valid:
        return result
    profile = profile_of(valid, read_filters(wheel), processes=processes, progress=progress)
    for name, first in _UNIQUE_AT.items():
        if len(valid) < first:
            warnings.warn(
                f"unique@{name} is that of {len(valid):,} valid samples, all there are",
                stacklevel=2,
            )
        result[f"moses_unique_{name}"] = len(set(valid[:first])) / len(valid[:first])
    distinct = set(valid)
    result["moses_novelty"] = 1 - _common(distinct, wheel) / len(distinct)
    result["moses_int_div"], result["moses_int_div2"] = _diversities(profile.fingerprints)
    result["moses_filters"] = float(profile.passes.mean())
    ours = None
    if with_fcd and len(valid) > 1:
        with tqdm(desc="fcd", total=len(valid), unit=" molecules", disable=not progress) as bar:
            ours = moments(activations(chemnet(device), valid, bar))
    for part, end in TESTS.items():
        reference = read_reference(wheel, part)
        result[f"moses_fcd{end}"] = None if ours is None else frechet(ours, reference.chemnet)
        with Bars(progress, " molecules") as bars:
            step = bars("nearest neighbours")
            result[f"moses_snn{end}"] = _snn(profile.fingerprints, reference.fingerprints, step)
        result[f"moses_frag{end}"] = cosine(profile.fragments, reference.fragments)
        result[f"moses_scaf{end}"] = cosine(profile.scaffolds, reference.scaffolds)
        if not end:
            result |= _distances(profile.values, reference)
    return result


def profile_of(
    smiles: Sequence[str],
    filters: Sequence[str],
    *,
    processes: int | None = None,
    progress: bool = True,
) -> Profile:
    """The profile of valid molecules, computed in parallel.

    Args:
        smiles: at least one; what :func:`~.chemistry.parse` accepts.
        filters: SMARTS of what a molecule must not contain.
        processes: at most that many; by default as many as there are processor cores.
        progress: show a bar on stderr, for more than 2,000 molecules.

    Raises:
        KetformerError: a worker process was killed.
    """
    chunk = partial(_chunk, filters=tuple(filters))
    chunks = map_chunks(chunk, smiles, processes, progress, "moses")
    return Profile(
        np.concatenate([one.fingerprints for one in chunks]),
        sum((one.fragments for one in chunks), Counter()),
        sum((one.scaffolds for one in chunks), Counter()),
        np.concatenate([one.values for one in chunks]),
        np.concatenate([one.passes for one in chunks]),
    )


def passes_filters(molecule: Mol, filters: Sequence[str]) -> bool:
    """Whether a molecule passes MOSES' filters.

    It has no ring of more than seven atoms, no charged atom, no element but C, N, S, O, F, Cl, Br
    and H, and with all its hydrogens written as atoms it matches none of the patterns.

    Args:
        molecule: sanitised.
        filters: SMARTS of the patterns.
    """
    from rdkit.Chem import AddHs

    if any(len(ring) > _LARGEST_RING for ring in molecule.GetRingInfo().AtomRings()):
        return False
    if any(a.GetFormalCharge() or a.GetSymbol() not in _ATOMS for a in molecule.GetAtoms()):
        return False
    whole = AddHs(molecule)
    return not any(whole.HasSubstructMatch(pattern) for pattern in _patterns(tuple(filters)))


@cache
def _patterns(filters: tuple[str, ...]) -> list[Mol]:
    from rdkit.Chem import MolFromSmarts

    return [MolFromSmarts(smarts) for smarts in filters]


def _chunk(smiles: Sequence[str], filters: tuple[str, ...]) -> Profile:
    from rdkit.Chem import Crippen, Descriptors
    from rdkit.Chem.QED import qed
    from rdkit.Contrib.SA_Score.sascorer import calculateScore  # type: ignore[import-untyped]
    from rdkit.rdBase import BlockLogs

    calculators = {
        "logP": Crippen.MolLogP,  # type: ignore[attr-defined]
        "SA": calculateScore,
        "QED": qed,
        "weight": Descriptors.MolWt,  # type: ignore[attr-defined]
    }
    with BlockLogs():
        molecules: list[Any] = list(map(parse, smiles))
        return Profile(
            fingerprints(molecules),
            count_fragments(molecules),
            count_scaffolds(molecules),
            np.array([[calculators[name](mol) for name in VALUES] for mol in molecules]),
            np.array([passes_filters(molecule, filters) for molecule in molecules]),
        )


def _common(distinct: set[str], wheel: Path) -> int:
    """How many of them are in MOSES' training set, as it is stored."""
    return len(distinct.intersection(moses_smiles(wheel, "train")))


def _diversities(prints: NDArray[np.uint8]) -> tuple[float, float]:
    """IntDiv and IntDiv2: 1 less the mean over molecules of ``(mean of T^p)^(1/p)`` over all.

    The paper's formula takes the root after the mean over all pairs; its code does not.
    """
    ours = prints.astype(np.float32)
    sums = [
        (table.sum(axis=1, dtype=np.float64), (table**2).sum(axis=1, dtype=np.float64))
        for table in tanimoto(ours, ours)
    ]
    first, second = (np.concatenate(rows) / len(ours) for rows in zip(*sums, strict=True))
    return float(1 - first.mean()), float(1 - np.sqrt(second).mean())


def _snn(ours: NDArray[np.uint8], theirs: NDArray[np.uint8], step: Any) -> float:
    """The mean over ours of the largest Tanimoto similarity to any of theirs."""
    floats, nearest = ours.astype(np.float32), np.zeros(len(ours))
    for start in range(0, len(theirs), _BLOCK):
        block = theirs[start : start + _BLOCK].astype(np.float32)
        found = np.concatenate([table.max(axis=1) for table in tanimoto(floats, block)])
        nearest = np.maximum(nearest, found)
        step(min(start + _BLOCK, len(theirs)), len(theirs))
    return float(nearest.mean())


def _distances(values: NDArray[np.float64], reference: Reference) -> dict[str, float | int | None]:
    """Earth mover's distances between the properties' distributions, in the property's unit."""
    from scipy.stats import wasserstein_distance

    return {
        f"moses_{name.lower()}": float(wasserstein_distance(column, reference.values[name]))
        for name, column in zip(VALUES, values.T, strict=True)
    }
