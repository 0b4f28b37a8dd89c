"""Metrics of sampled molecules, each with its denominator.

The names are those of MOSES (Polykovskiy et al. 2020); the denominators differ between
papers, so each is stated here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.standardise import canonicalise

PREFIXES = (1_000, 10_000)  # the sizes at which uniqueness is usually reported


@dataclass(frozen=True, eq=False)
class Judged:
    """Sampled molecules and facts about each; all fields have the same length and order.

    Attributes:
        sampled: the SMILES as sampled.
        canonical: RDKit's canonical SMILES, without the marks that were removed from the data;
            None if not valid.
        valid: a sound molecule (:func:`~.chemistry.parse`).
        duplicate: valid, and the same molecule (canonical SMILES) was sampled before.
        novel: valid, and nowhere in the data: neither in the training part nor held out.
        in_training: valid, and in the training part.
    """

    sampled: list[str]
    canonical: list[str | None]
    valid: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    novel: NDArray[np.bool_]
    in_training: NDArray[np.bool_]


def judge(
    sampled: Sequence[str],
    training: Collection[str],
    held_out: Collection[str] = (),
    *,
    marks: Sequence[str] = (),
    seen: set[str] | None = None,
    progress: bool = True,
) -> Judged:
    """Parse the samples, and compare them with each other and with the data.

    Args:
        sampled: SMILES in the order of sampling.
        training: canonical SMILES of the training part.
        held_out: those of the rest of the data.
        marks: what was removed from the data's molecules, and is removed from the samples too:
            keys of :data:`~ketformer.tasks.molecules.standardise.MARKS`.
        seen: canonical SMILES sampled earlier; those sampled now are added, so that a
            long sampling can be judged block by block.
        progress: whether a bar is drawn on stderr, for more than 2,000 molecules.

    Raises:
        KetformerError: a worker process was killed.
    """
    trained, rest = (
        part if isinstance(part, Set) else frozenset(part) for part in (training, held_out)
    )
    canonical = canonicalise(sampled, marks, progress=progress, label="validity")
    seen = set() if seen is None else seen
    duplicate = []
    for molecule in canonical:
        duplicate.append(molecule in seen)
        if molecule is not None:
            seen.add(molecule)
    return Judged(
        sampled=list(sampled),
        canonical=canonical,
        valid=np.array([molecule is not None for molecule in canonical], dtype=bool),
        duplicate=np.array(duplicate, dtype=bool),
        novel=np.array(
            [m is not None and m not in trained and m not in rest for m in canonical], dtype=bool
        ),
        in_training=np.array([m in trained for m in canonical], dtype=bool),
    )


def generation_metrics(judged: Judged) -> dict[str, Any]:
    """Counts of sampled molecules, and shares computed from them.

    A share is None if its denominator is 0. The keys:

    - ``sampled``: the number of samples;
    - ``valid``: how many of them are valid, repeats included;
    - ``unique``: how many distinct molecules are among the valid;
    - ``novel``: how many distinct molecules among them are nowhere in the data, neither in
      the training part nor held out;
    - ``validity``: valid / sampled;
    - ``uniqueness``: unique / valid;
    - ``novelty``: novel / unique;
    - ``product``: novel / sampled, the product of these three;
    - ``not_in_training``: how many distinct molecules are not in the training part, which is
      what papers count as novel, and ``novelty_to_training``, its share of unique;
    - ``in_training``: valid samples that are in the training part, repeats included,
      / valid. It is not 1 - novelty_to_training, which counts every molecule once;
    - ``at``: the same for the first 1,000 and 10,000 samples, under ``"1000"`` and
      ``"10000"``, if more were sampled: uniqueness falls with the number of
      samples, and can only be compared at the same number.
    """
    number = len(judged.valid)
    at = {str(first): _shares(judged, first) for first in PREFIXES if first < number}
    return {**_shares(judged, number), "at": at}


def property_errors(
    values: NDArray[np.float64], requested: Mapping[str, float], names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """How far the valid molecules are from the requested properties.

    Args:
        values: ``[N, P]``, a row of NaN for an invalid molecule (:func:`compute_properties`).
        requested: target by property name, in the unit of the property.
        names: names of the columns.

    Returns:
        By property: ``target``; ``count``, the number of valid molecules; ``mean``, that of
        the property over them; ``mae``, the sum of ``|value - target|`` / count. The last two
        are None if there is no valid molecule.

    Raises:
        KetformerError: a target for a property that has no column.
    """
    errors = {}
    valid = values[~np.isnan(values).any(axis=1)]
    for name, target in requested.items():
        if name not in names:
            raise KetformerError(f"no property {name!r} was computed; computed: {', '.join(names)}")
        column = valid[:, list(names).index(name)]
        errors[name] = {
            "target": target,
            "count": len(column),
            "mean": float(column.mean()) if len(column) else None,
            "mae": float(np.abs(column - target).mean()) if len(column) else None,
        }
    return errors


def wasserstein(
    properties_generated: NDArray[np.float64],
    properties_reference: NDArray[np.float64],
    names: Sequence[str],
) -> dict[str, float | None]:
    """Earth mover's distance between the values of each property, in its own unit (MOSES).

    The integral of the absolute difference between the two cumulative distributions;
    every valid molecule of a side weighs the same, repeats included.

    Args:
        properties_generated: ``[N, P]``; rows with NaN are skipped.
        properties_reference: ``[M, P]``; rows with NaN are skipped.
        names: names of the columns.

    Returns:
        By property; None if a side has no valid molecule.
    """
    from scipy.stats import wasserstein_distance

    generated, reference = (
        values[~np.isnan(values).any(axis=1)]
        for values in (properties_generated, properties_reference)
    )
    if not len(generated) or not len(reference):
        return dict.fromkeys(names)
    columns = zip(names, generated.T, reference.T, strict=True)
    return {name: float(wasserstein_distance(ours, theirs)) for name, ours, theirs in columns}


def _shares(judged: Judged, first: int) -> dict[str, float | int | None]:
    is_valid, is_novel = judged.valid[:first], judged.novel[:first]
    is_trained = judged.in_training[:first]
    is_distinct = is_valid & ~judged.duplicate[:first]
    valid, unique = int(is_valid.sum()), int(is_distinct.sum())
    novel = int((is_distinct & is_novel).sum())
    untrained = int((is_distinct & ~is_trained).sum())
    return {
        "sampled": first,
        "valid": valid,
        "unique": unique,
        "novel": novel,
        "validity": _share(valid, first),
        "uniqueness": _share(unique, valid),
        "novelty": _share(novel, unique),
        "product": _share(novel, first),
        "not_in_training": untrained,
        "novelty_to_training": _share(untrained, unique),
        "in_training": _share(int(is_trained.sum()), valid),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
