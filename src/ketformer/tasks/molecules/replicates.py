"""Rows of the same molecule merged into one: replicate measurements and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.utils.choices import Merge

MERGES: tuple[Merge, ...] = get_args(Merge)


@dataclass(frozen=True)
class Spread:
    """How much the replicates of one column differ.

    Attributes:
        replicated: molecules with two or more known values.
        conflicting: those of them whose values are not all equal.
        pooled_std: the pooled standard deviation of the replicates of a molecule, in the
            column's unit: the root of the summed squared deviations from the molecules' means
            over the summed degrees of freedom.
        largest_range: the largest difference between two values of a molecule.
        largest: the molecule with that difference, canonical; None if no values differ.
    """

    replicated: int
    conflicting: int
    pooled_std: float
    largest_range: float
    largest: str | None


def merged(
    values: NDArray[np.float64], places: NDArray[np.int64], smiles: Sequence[str], how: Merge
) -> tuple[NDArray[np.float64], Spread]:
    """One value for each molecule, NaN where none is known, and the spread of the replicates.

    Args:
        values: ``[R]``, one for each row, NaN where unknown.
        places: ``[R]``: the index of each row's molecule; negative for rows without one.
        smiles: the molecules.
        how: ``mean``, ``median`` or ``first`` of the known values.

    Raises:
        KetformerError: another way to merge.
    """
    if how not in MERGES:
        raise KetformerError(f"replicates must be one of {', '.join(MERGES)}, got {how!r}")
    result = np.full(len(smiles), np.nan)
    known = np.flatnonzero(~np.isnan(values) & (places >= 0))
    if not len(known):
        return result, Spread(0, 0, 0.0, 0.0, None)
    values, places = values[known], places[known]
    in_file = np.argsort(places, kind="stable")
    order = np.lexsort((values, places))
    molecules, start, count = np.unique(places[order], return_index=True, return_counts=True)
    ordered = values[order]
    low, high = ordered[start], ordered[start + count - 1]
    # Divided by a power of two, so that no sum or square overflows.
    scale = 2.0 ** (np.frexp(np.abs(values).max())[1] - 1)
    scaled = ordered / scale
    mean = np.add.reduceat(scaled, start) / count
    median = (scaled[start + (count - 1) // 2] + scaled[start + count // 2]) / 2
    if how == "first":
        result[molecules] = values[in_file[start]]
    else:  # rounding may take the mean of equal values off them
        result[molecules] = np.clip((mean if how == "mean" else median) * scale, low, high)
    freedom, widest = int((count - 1).sum()), int((high - low).argmax())
    squares = (scaled - np.repeat(mean, count)) ** 2
    differ = high > low
    return result, Spread(
        replicated=int((count > 1).sum()),
        conflicting=int(differ.sum()),
        pooled_std=float(np.sqrt(squares.sum() / freedom) * scale) if differ.any() else 0.0,
        largest_range=float(high[widest] - low[widest]),
        largest=smiles[molecules[widest]] if differ.any() else None,
    )


def told(rows: int, duplicates: int, spreads: dict[str, Spread], how: Merge) -> list[str]:
    """Lines about what was merged: the repeated rows, and each column with replicates.

    Args:
        rows: rows of the file.
        duplicates: rows whose molecule an earlier row has.
        spreads: by column.
        how: how the values were merged.
    """
    if not duplicates:
        return []
    way = f", with the {how} of the known values of each column" if spreads else ""
    lines = [f"{duplicates:,} of {rows:,} rows repeat a molecule and are merged{way}"]
    for name, spread in spreads.items():
        line = (
            f"{name}: {spread.conflicting:,} of the {spread.replicated:,} molecules with several "
            "values have conflicting ones"
        )
        if spread.largest is not None:
            line += (
                f" (pooled standard deviation {spread.pooled_std:.3g}; they differ most, by "
                f"{spread.largest_range:.3g}, for {spread.largest})"
            )
        lines += [line] if spread.replicated else []
    return lines
