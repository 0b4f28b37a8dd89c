"""What constrained sampling changes: validity is forced, and may be paid for in what is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ketformer.generation import MoleculeSampling, generate_molecules
from ketformer.runs import Run
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.metrics import wasserstein
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties, compute_properties
from ketformer.tasks.molecules.similarity import distribution_metrics
from ketformer.tasks.molecules.tokenizer import split_smiles

_ATOM = frozenset("BCNOPSFIbcnops*[")


def constrained_metrics(
    run: Run,
    prepared: MoleculeData,
    reference: Sequence[str],
    samples: int,
    conditions: Mapping[str, float],
    *,
    with_fcd: bool | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """The metrics of as many samples drawn with ``constrained``.

    Returns:
        The keys of :func:`~ketformer.tasks.molecules.metrics.generation_metrics` and
        :func:`~ketformer.tasks.molecules.similarity.distribution_metrics`, ``wasserstein`` by
        property, ``heavy_atoms``, and how often the model was not followed (see
        :class:`~ketformer.generation.constraint.Refused`).
    """
    sampled = generate_molecules(
        run,
        samples,
        MoleculeSampling(conditions=conditions, constrained=True),
        known=prepared.known,
        progress=progress,
        label="constrained",
    )
    valid = sampled.molecules
    result = {
        **sampled.metrics,
        **(sampled.constrained.shares() if sampled.constrained else {}),
        "heavy_atoms": heavy_atoms(valid, reference),
    }
    if len(valid) < 2:
        return result
    known = cached_properties(reference, progress=progress)
    return {
        **result,
        **distribution_metrics(valid, reference, with_fcd=with_fcd, progress=progress),
        "wasserstein": wasserstein(
            compute_properties(valid, progress=False), known, list(PROPERTIES)
        ),
    }


def heavy_atoms(smiles: Sequence[str], reference: Sequence[str]) -> dict[str, float | None]:
    """Mean and standard deviation of the number of heavy atoms, and those of a reference.

    ``distance`` is the Wasserstein distance between the two distributions, in atoms; None where
    a side has no molecules.

    Args:
        smiles: valid and canonical.
        reference: likewise.
    """
    ours, theirs = (
        np.array([_count(s) for s in side], dtype=float) for side in (smiles, reference)
    )
    if not len(ours) or not len(theirs):
        return dict.fromkeys(("mean", "std", "mean of reference", "std of reference", "distance"))
    both = wasserstein(ours[:, None], theirs[:, None], ["heavy atoms"])
    return {
        "mean": float(ours.mean()),
        "std": float(ours.std()),
        "mean of reference": float(theirs.mean()),
        "std of reference": float(theirs.std()),
        "distance": both["heavy atoms"],
    }


def _count(smiles: str) -> int:
    """The atoms in a canonical SMILES, where hydrogens stand by themselves only as ``[H]``."""
    return sum(token[0] in _ATOM and token != "[H]" for token in split_smiles(smiles))
