"""Whether a model can be trained on the conditions of a set of molecules."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.quoting import shortened
from ketformer.tasks.molecules.reading import Molecules


def unvarying(
    values: NDArray[np.float64],
    names: Sequence[str],
    from_all: Collection[str],
    conditions: str,
    source: Molecules,
    *,
    varied: bool = True,
) -> list[str]:
    """The names that ``all`` brought in and that say nothing here; a warning names them.

    Args:
        values: ``[N, C]`` of the training part, NaN where unknown.
        names: those of the columns.
        from_all: those of them that ``all`` brought in.
        conditions: as they were given.
        source: where the molecules are from.
        varied: whether a condition must vary, and not only be known somewhere.

    Raises:
        KetformerError: a condition that was asked for by its own name says nothing, or all do.
    """
    why = {}
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)].astype(np.float32)  # as the model sees them
        if not len(known):
            why[name] = "it has no value there"
        elif varied and known.min() == known.max():
            why[name] = f"it is {known[0]:g} in each"
    for name, reason in why.items():
        if name not in from_all or len(why) == len(names):
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
