"""Which marks of a SMILES are not the molecule, and are removed before molecules are compared.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import (
    canonical_smiles,
    map_chunks,
    read_smiles,
    remove_atom_maps,
    write_smiles,
)

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: What is removed always; the numbers in ``[CH3:1]``.
ATOM_MAPS = "atom maps"

#: What is removed on request, and what that means, in the order in which it is done.
MARKS: dict[str, str] = {
    "salts": "all but the largest organic fragment",
    "charges": "charges that hydrogens can neutralise",
    "isotopes": "isotopes, as in [13CH4]",
    "stereo": "stereochemistry of atoms and double bonds",
}


@dataclass(frozen=True)
class Standardised:
    """Molecules as they are compared, and what was removed from them.

    Attributes:
        smiles: canonical, None where :func:`~.chemistry.parse` finds no molecule.
        changed: by mark, the number of molecules from which it was removed.
        merged: how many molecules differed from an earlier one only in these marks.
    """

    smiles: list[str | None]
    changed: dict[str, int]
    merged: int


def marks_of(standardise: str | None) -> tuple[str, ...]:
    """The marks in ``stereo,salts``, in the order of :data:`MARKS`; ``all`` means all of them.

    Raises:
        KetformerError: an unknown mark.
    """
    if not standardise:
        return ()
    named = list(MARKS) if standardise == "all" else [m.strip() for m in standardise.split(",")]
    if unknown := [mark for mark in named if mark not in MARKS]:
        raise KetformerError(
            f"standardise can remove {', '.join(MARKS)} (or all), got {unknown[0]!r}"
        )
    return tuple(mark for mark in MARKS if mark in named)


def standardised(
    smiles: Sequence[str],
    marks: Sequence[str] = (),
    *,
    processes: int | None = None,
    progress: bool = True,
    label: str = "standardise",
) -> Standardised:
    """Canonical SMILES without atom maps and ``marks``, and counts of what was removed.

    Args:
        smiles: any texts; surrounding blanks are ignored.
        marks: keys of :data:`MARKS`.
        processes: at most that many; by default one for each available core.
        progress: show a bar on stderr, for more than 2,000 texts.
        label: label of the bar.

    Raises:
        KetformerError: a worker process was killed.
    """
    chunk = partial(_chunk, marks=tuple(marks))
    canonical: list[str | None] = []
    changes: dict[int, _Row] = {}
    for rows, changed in map_chunks(chunk, smiles, processes, progress, label):
        changes |= {len(canonical) + place: row for place, row in changed.items()}
        canonical += rows
    return Standardised(
        smiles=canonical,
        changed=dict(Counter(chain.from_iterable(row.removed for row in changes.values()))),
        merged=_merged(canonical, changes) if changes else 0,
    )


def _merged(canonical: Sequence[str | None], changes: Mapping[int, _Row]) -> int:
    before = {
        changes[i].before if i in changes else smiles
        for i, smiles in enumerate(canonical)
        if smiles is not None
    }
    return len(before) - len(set(canonical) - {None})


def canonicalise(
    smiles: Sequence[str],
    marks: Sequence[str] = (),
    *,
    processes: int | None = None,
    progress: bool = True,
    label: str = "canonicalise",
) -> list[str | None]:
    """The SMILES of :func:`standardised` alone; its arguments and errors."""
    return standardised(smiles, marks, processes=processes, progress=progress, label=label).smiles


class _Row(NamedTuple):
    """A molecule before and after, with the marks that were removed."""

    smiles: str | None
    before: str | None = None
    removed: tuple[str, ...] = ()


def _chunk(
    smiles: Sequence[str], marks: tuple[str, ...]
) -> tuple[list[str | None], dict[int, _Row]]:
    """The molecules afterwards, and by place those from which something was removed."""
    rows = [_row(text.strip(), marks) for text in smiles]
    changed = {place: row for place, row in enumerate(rows) if row.smiles and row.removed}
    return [row.smiles for row in rows], changed


def _row(text: str, marks: tuple[str, ...]) -> _Row:
    from rdkit.rdBase import BlockLogs

    if not marks and ":" not in text:  # without a colon there are no atom maps
        smiles = canonical_smiles(text)
        return _Row(smiles, smiles)
    with BlockLogs():
        molecule = read_smiles(text)
        before = None if molecule is None else write_smiles(molecule, text)
        if molecule is None or before is None:
            return _Row(None)
        removed = [ATOM_MAPS] if remove_atom_maps(molecule) else []
        smiles = write_smiles(molecule) if removed else before
        for mark in marks:
            molecule = _removers()[mark](molecule)
            if (fewer := write_smiles(molecule)) != smiles:
                removed.append(mark)
                smiles = fewer
    return _Row(smiles, before, tuple(removed))


@cache
def _removers() -> dict[str, Callable[[Mol], Mol]]:
    """How MolStandardize removes each mark; it would otherwise change functional groups as well."""
    from rdkit.Chem.MolStandardize import rdMolStandardize

    return {
        "salts": partial(rdMolStandardize.FragmentParent, skipStandardize=True),
        "charges": rdMolStandardize.Uncharger().uncharge,
        "isotopes": partial(rdMolStandardize.IsotopeParent, skipStandardize=True),
        "stereo": partial(rdMolStandardize.StereoParent, skipStandardize=True),
    }
