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
from ketformer.tasks.molecules.seen import Seen
from ketformer.tasks.molecules.standardise import canonicalise

PREFIXES = (1_000, 10_000)  # the sizes at which uniqueness is usually reported
_COUNTED = ("valid", "unique", "novel", "not_in_training", "in_training")


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
    seen: Seen | None = None,
    progress: bool = True,
) -> Judged:
    """Parse the samples, and compare them with each other and with the data.

    Args:
        sampled: SMILES in the order of sampling.
        training: canonical SMILES of the training part.
        held_out: those of the rest of the data.
        marks: what was removed from the data's molecules, and is removed from the samples too:
            keys of :data:`~ketformer.tasks.molecules.standardise.MARKS`.
        seen: the canonical SMILES sampled earlier; those sampled now are added, so that a
            long sampling can be judged block by block.
        progress: whether a bar is drawn on stderr, for more than 2,000 molecules.

    Raises:
        KetformerError: a worker process was killed.
    """
    trained, rest = (
        part if isinstance(part, Set) else frozenset(part) for part in (training, held_out)
    )
    canonical = canonicalise(sampled, marks, progress=progress, label="validity")
    return Judged(
        sampled=list(sampled),
        canonical=canonical,
        valid=np.array([molecule is not None for molecule in canonical], dtype=bool),
        duplicate=(Seen() if seen is None else seen).add(canonical),
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
    counts = Counts()
    counts.add(judged)
    return counts.metrics()


class Counts:
    """The counts of :func:`generation_metrics`, block by block, without what was counted."""

    def __init__(self) -> None:
        self.sampled = 0
        self._whole = np.zeros(len(_COUNTED), dtype=int)
        self._first = {first: np.zeros(len(_COUNTED), dtype=int) for first in PREFIXES}

    def add(self, judged: Judged) -> None:
        """Count the next samples, in the order of sampling."""
        self._whole += _count(judged, len(judged.valid))
        for first, counts in self._first.items():
            counts += _count(judged, max(first - self.sampled, 0))
        self.sampled += len(judged.valid)

    def metrics(self) -> dict[str, Any]:
        """See :func:`generation_metrics`."""
        at = {
            str(first): _shares(first, *counts.tolist())
            for first, counts in self._first.items()
            if first < self.sampled
        }
        return {**_shares(self.sampled, *self._whole.tolist()), "at": at}


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
    errors = PropertyErrors(requested, names)
    errors.add(values)
    return errors.result()


class PropertyErrors:
    """:func:`property_errors`, block by block, with the same arguments and errors."""

    def __init__(self, requested: Mapping[str, float], names: Sequence[str]) -> None:
        for name in requested:
            if name not in names:
                raise KetformerError(
                    f"no property {name!r} was computed; computed: {', '.join(names)}"
                )
        self._columns = [list(names).index(name) for name in requested]
        self._requested = requested
        self._targets = np.array(list(requested.values()), dtype=np.float64)
        self._count = 0
        self._sums = np.zeros((2, len(requested)))  # of the values, and of their distances

    def add(self, values: NDArray[np.float64]) -> None:
        """Add molecules ``[N, P]``."""
        valid = values[~np.isnan(values).any(axis=1)][:, self._columns]
        self._count += len(valid)
        self._sums += valid.sum(axis=0), np.abs(valid - self._targets).sum(axis=0)

    def result(self) -> dict[str, dict[str, float | int | None]]:
        """The errors of all molecules so far."""
        means = (self._sums / self._count if self._count else self._sums).T.tolist()
        return {
            name: {
                "target": target,
                "count": self._count,
                "mean": mean if self._count else None,
                "mae": mae if self._count else None,
            }
            for (name, target), (mean, mae) in zip(self._requested.items(), means, strict=True)
        }


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


def _count(judged: Judged, first: int) -> list[int]:
    """What is in :data:`_COUNTED`, among the first samples."""
    is_valid, is_novel = judged.valid[:first], judged.novel[:first]
    is_trained = judged.in_training[:first]
    is_distinct = is_valid & ~judged.duplicate[:first]
    flags = is_valid, is_distinct, is_distinct & is_novel, is_distinct & ~is_trained, is_trained
    return [int(flag.sum()) for flag in flags]


def _shares(
    sampled: int, valid: int, unique: int, novel: int, not_in_training: int, in_training: int
) -> dict[str, float | int | None]:
    return {
        "sampled": sampled,
        "valid": valid,
        "unique": unique,
        "novel": novel,
        "validity": _share(valid, sampled),
        "uniqueness": _share(unique, valid),
        "novelty": _share(novel, unique),
        "product": _share(novel, sampled),
        "not_in_training": not_in_training,
        "novelty_to_training": _share(not_in_training, unique),
        "in_training": _share(in_training, valid),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
