"""Conditions of a set of molecules: their names, and whether a model can be trained on them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.properties import PROPERTIES
from ketformer.tasks.molecules.reading import Molecules
from ketformer.tasks.molecules.tables import shortened

#: Stands for the nine properties that need no column.
ALL = "all"
_LEFT_OUT = "-"


def condition_names(conditions: str | None) -> list[str]:
    """The names in ``LogP,TPSA``, where ``all`` means the nine properties and ``-TPSA`` no TPSA.

    Raises:
        KetformerError: a name is empty or given twice, or one that is left out is not there.
    """
    if not conditions:
        return []
    given = [name.strip() for name in conditions.split(",")]
    names = [n for name in given for n in (PROPERTIES if name == ALL else [name])]
    without = {name.removeprefix(_LEFT_OUT) for name in names if name.startswith(_LEFT_OUT)}
    names = [name for name in names if not name.startswith(_LEFT_OUT)]
    if not all(names) or len(set(names)) < len(names):
        raise KetformerError(
            f"conditions must be distinct names, separated by commas, got {conditions!r}"
        )
    if unknown := without - set(names):
        raise KetformerError(f"conditions {conditions!r} do not have {min(unknown)} to leave out")
    return [name for name in names if name not in without]


def without_conditions(conditions: str, names: Sequence[str]) -> str:
    """``all`` without some of the nine, as in ``all,-TPSA``."""
    return ",".join([conditions, *(f"{_LEFT_OUT}{name}" for name in names)])


def unvarying(
    values: NDArray[np.float64],
    names: Sequence[str],
    conditions: str,
    source: Molecules,
    *,
    varied: bool = True,
) -> list[str]:
    """The names that ``all`` brought in and that say nothing here; a warning names them.

    Args:
        values: ``[N, C]`` of the training part, NaN where unknown.
        names: those of the columns.
        conditions: as they were given.
        source: where the molecules are from.
        varied: whether a condition must vary, and not only be known somewhere.

    Raises:
        KetformerError: a condition that was asked for by its own name says nothing, or all do.
    """
    given = [name.strip() for name in conditions.split(",")]
    why = {}
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)].astype(np.float32)  # as the model sees them
        if not len(known):
            why[name] = "it has no value there"
        elif varied and known.min() == known.max():
            why[name] = f"it is {known[0]:g} in each"
    for name, reason in why.items():
        if name in given or len(why) == len(names):
            raise KetformerError(
                f"{name} does not vary in the training molecules of {source.name} ({reason}); "
                f"leave it out of the conditions {conditions!r}"
            )
    if why:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in why.items())
        warnings.warn(
            f"conditions {conditions!r} go without what does not vary in the training molecules "
            f"of {source.name}: {reasons}",
            stacklevel=3,
        )
    return list(why)


def check_size(values: NDArray[np.float64], names: Sequence[str], source: Molecules) -> None:
    """Refuse values ``[N, C]`` that a model's single precision turns into infinity.

    Raises:
        KetformerError: naming the line, the condition and the molecule.
    """
    with np.errstate(over="ignore"):
        infinite = np.isinf(values.astype(np.float32))
    if infinite.any():
        row, place = np.argwhere(infinite)[0]
        raise KetformerError(
            f"{where(source, source.smiles[row])}: {names[place]} is {values[row, place]:g}, "
            f"beyond what a model can read ({np.finfo(np.float32).max:.2g})"
        )


def where(source: Molecules, smiles: str) -> str:
    """The file, the line and the molecule, for a message."""
    line = f"line {source.lines[source.smiles.index(smiles)]}: " if source.lines else ""
    return f"{source.name}: {line}{shortened(smiles)}"
