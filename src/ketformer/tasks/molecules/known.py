"""Compounds that a user knows: how near a new molecule is to them, and to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import map_chunks, parse
from ketformer.tasks.molecules.output import written_column
from ketformer.tasks.molecules.reading import MOLECULE_SETS, load_molecules
from ketformer.tasks.molecules.similarity import fingerprints, tanimoto
from ketformer.tasks.molecules.standardise import canonicalise
from ketformer.tasks.molecules.tables import SUFFIXES, read_table, suffix_of
from ketformer.utils.files import read_bytes

_BLOCK = 10_000  # fingerprints compared at once, 40 MB


@dataclass(frozen=True)
class Compounds:
    """Known compounds, those that RDKit can read.

    Attributes:
        name: the file, or the data set.
        smiles: canonical.
        ids: their names; ``line 7`` where the file has none.
        fingerprints: ECFP4 as in :func:`~.similarity.fingerprints`, packed to ``[N, 128]`` bytes.
        broken: how many rows of the file are not there.
    """

    name: str
    smiles: list[str]
    ids: list[str]
    fingerprints: NDArray[np.uint8]
    broken: int = 0

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each molecule stands first."""
        return {text: i for i, text in reversed([*enumerate(self.smiles)])}


def read_compounds(
    name_or_path: str, marks: Sequence[str] = (), *, progress: bool = True
) -> Compounds:
    """Read known compounds with their names.

    Args:
        name_or_path: a file of molecules, or one of :data:`~.reading.MOLECULE_SETS`.
        marks: what to remove from each besides atom maps, as from the molecules that are compared:
            keys of :data:`~.standardise.MARKS`.
        progress: show a bar while a large file is read.

    Raises:
        KetformerError: no such file or set, one that cannot be read, or without a molecule.
    """
    if name_or_path in MOLECULE_SETS:
        found = load_molecules(name_or_path, marks=marks, progress=progress)
        smiles: list[str | None] = [*found.smiles]
        ids, lines = [""] * len(smiles), found.lines or list(range(1, len(smiles) + 1))
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise KetformerError(f"--known {name_or_path}: no such file")
        if suffix_of(path) not in SUFFIXES:
            raise KetformerError(
                f"{path}: molecule files end in one of {', '.join(SUFFIXES)}, perhaps with .gz"
            )
        raw = read_bytes(path)
        column = written_column(path, raw)
        table = read_table(path, raw, column, with_ids=True, progress=progress)
        label = f"reading {path.name}"
        smiles = canonicalise(table.smiles, marks, progress=progress, label=label)
        ids, lines = table.ids or [], table.lines
    kept = [i for i, text in enumerate(smiles) if text is not None]
    if not kept:
        raise KetformerError(f"{name_or_path}: no SMILES that RDKit can read")
    sound = [smiles[i] or "" for i in kept]
    return Compounds(
        name_or_path,
        sound,
        [ids[i] or f"line {lines[i]}" for i in kept],
        _packed(sound, progress),
        broken=len(smiles) - len(kept),
    )


def nearest_known(
    smiles: Sequence[str], known: Compounds
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Tanimoto similarity to the nearest known compound, and its place: ``[N]`` each.

    Of equally near ones it is the first. Known compounds are compared 10,000 at a time.

    Args:
        smiles: N valid molecules.
        known: at least one.
    """
    ours = _unpacked(_packed(smiles, progress=False))
    best, place = np.full(len(smiles), -1.0), np.zeros(len(smiles), dtype=np.int64)
    for start in range(0, len(known.smiles), _BLOCK):
        row = 0
        for table in tanimoto(ours, _unpacked(known.fingerprints[start : start + _BLOCK])):
            rows = slice(row, row + len(table))
            top = table.max(axis=1)
            nearer = top > best[rows]
            place[rows] = np.where(nearer, start + table.argmax(axis=1), place[rows])
            best[rows] = np.maximum(best[rows], top)
            row += len(table)
    return best, place


def _packed(smiles: Sequence[str], progress: bool) -> NDArray[np.uint8]:
    return np.concatenate(map_chunks(_chunk, smiles, None, progress, "fingerprints"))


def _chunk(smiles: Sequence[str]) -> NDArray[np.uint8]:
    molecules = [molecule for text in smiles if (molecule := parse(text)) is not None]
    return np.packbits(fingerprints(molecules), axis=1)


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.unpackbits(packed, axis=1).astype(np.float32)
