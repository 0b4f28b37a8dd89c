"""Sets of molecules, by name or from files, as distinct canonical SMILES."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.molecules.dialect import RECOGNISED, Dialect
from ketformer.tasks.molecules.embedded import MAX_HEAVY_ATOMS, embedded_smiles
from ketformer.tasks.molecules.packed import PACKED, Packed
from ketformer.tasks.molecules.quoting import shortened
from ketformer.tasks.molecules.replicates import Spread, merged, told
from ketformer.tasks.molecules.standardise import Standardised, standardised
from ketformer.tasks.molecules.tables import SUFFIXES, Table, read_table, suffix_of
from ketformer.utils.choices import Merge
from ketformer.utils.files import cache_folder, hash_of, read_bytes, replacing

#: The sets that :func:`load_molecules` knows by name.
MOLECULE_SETS = ("embedded", "qm9", *PACKED)

# Raise it when the same file would give a different result.
_CACHE_FORMAT = 4


@dataclass(frozen=True)
class Molecules:
    """Distinct molecules and where they came from.

    Attributes:
        name: as requested.
        sha256: the hash of the file, or of the embedded set.
        smiles: canonical (RDKit) and distinct, in the order of the file, without atom maps and
            the marks that were to be removed.
        columns: the requested numeric columns by the name asked for, float64, in the order of
            ``smiles``; NaN where no row of a molecule has a value.
        rows: number of molecules in the file.
        broken: how many of them RDKit cannot read; they are left out.
        duplicates: how many equal an earlier one; they are merged into it.
        first_broken: the first broken one with its line; None if there is none.
        headings: the names of the columns as the file writes them, by the name asked for.
        spreads: how much the rows of a molecule differ in each column, by the file's name for it.
        notes: lines about how the file was read, and what was merged.
        lines: the line on which each molecule is first; empty if there is no file.
        changed: by mark, the number of rows from which it was removed.
        merged: how many of the duplicates differed only in these marks.
        parts: the number of molecules of each part that the set comes with, which follow each
            other in ``smiles``; empty if it has none.
    """

    name: str
    sha256: str
    smiles: list[str]
    columns: dict[str, np.ndarray]
    rows: int
    broken: int
    duplicates: int
    first_broken: str | None
    headings: dict[str, str] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    changed: dict[str, int] = field(default_factory=dict)
    merged: int = 0
    parts: dict[str, int] = field(default_factory=dict)


def load_molecules(
    name_or_path: str,
    *,
    column: str | None = None,
    numeric: Sequence[str] = (),
    optional: Sequence[str] = (),
    dialect: Dialect = RECOGNISED,
    replicates: Merge = "mean",
    marks: Sequence[str] = (),
    max_heavy_atoms: int = MAX_HEAVY_ATOMS,
    progress: bool = True,
) -> Molecules:
    """Load a named set, or the molecules of a file; RDKit's result for a file is cached.

    Args:
        name_or_path: one of :data:`MOLECULE_SETS`, a ``.csv`` or ``.tsv`` table, a ``.smi``,
            ``.smiles`` or ``.txt`` file with a SMILES and perhaps a name on each line, or an
            ``.sdf`` file; each also with ``.gz``.
        column: the column of a table with the SMILES; by default the one called
            ``smiles`` or ``canonical_smiles``, in upper or lower case. In a table without a
            header, columns are called 1, 2 and so on.
        numeric: columns of a table, or fields of an SDF, to be read as numbers.
        optional: the same, if the file has them.
        dialect: how the file is written, where it is not recognised.
        replicates: ``mean``, ``median`` or ``first``: how the known values of rows with the same
            molecule become one.
        marks: what to remove from each molecule besides atom maps, before equal ones are merged:
            keys of :data:`~ketformer.tasks.molecules.standardise.MARKS`.
        max_heavy_atoms: size of the largest molecules of the embedded set.
        progress: show a bar while the molecules of a large file are read.

    Raises:
        KetformerError: no such name, file or column; a file that is not text or not a table,
            or may be read in several ways; a column with more texts than numbers; no molecule
            that RDKit can read; a worker process that was killed.
    """
    if name_or_path == "embedded":
        if column is not None or numeric:
            raise KetformerError("the embedded molecules have no columns")
        smiles = embedded_smiles(max_heavy_atoms)
        digest = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
        return Molecules("embedded", digest, smiles, {}, len(smiles), 0, 0, None)
    path = _find(name_or_path)
    digest = hash_of(path)
    asked = [column, list(numeric), list(optional), asdict(dialect), replicates, list(marks)]
    cached = _cache_file(digest, suffix_of(path), asked)
    if (molecules := _from_cache(cached, name_or_path, digest)) is None:
        if name_or_path in PACKED:
            packed, path = PACKED[name_or_path](path), Path(f"{name_or_path}.csv")
        else:
            packed = Packed(read_bytes(path))
        table = read_table(
            path, packed.table, column, numeric, optional, dialect, progress=progress
        )
        found = standardised(table.smiles, marks, progress=progress, label=f"reading {path.name}")
        molecules = _molecules(path, name_or_path, digest, table, found, replicates, packed.parts)
        _to_cache(cached, molecules)
    return molecules


# --- Files -------------------------------------------------------------------------------------


def _find(name_or_path: str) -> Path:
    if name_or_path in MOLECULE_SETS:
        return locate(DATASETS[name_or_path])
    path = Path(name_or_path)
    if not os.path.isfile(path):
        known = ", ".join(MOLECULE_SETS)
        raise KetformerError(f"no molecule set or file {name_or_path!r}; molecule sets: {known}")
    if suffix_of(path) not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise KetformerError(f"{path}: molecule files end in one of {known}, perhaps with .gz")
    return path


def _molecules(
    path: Path,
    name: str,
    digest: str,
    table: Table,
    found: Standardised,
    replicates: Merge,
    official: Mapping[str, int],
) -> Molecules:
    distinct: dict[str, int] = {}  # and their places
    starts: list[int] = []  # the first row of each
    broken: list[int] = []
    places = np.full(len(found.smiles), -1)
    for i, smiles in enumerate(found.smiles):
        if smiles is None:
            broken.append(i)
            continue
        places[i] = distinct.setdefault(smiles, len(distinct))
        if places[i] == len(starts):
            starts.append(i)
    first_broken = None
    if broken:
        first_broken = f"line {table.lines[broken[0]]}: {shortened(table.smiles[broken[0]])}"
    if not distinct:
        raise KetformerError(f"{path}: no SMILES that RDKit can read; {first_broken}")
    both = {
        key: merged(np.array(values), places, list(distinct), replicates)
        for key, values in table.columns.items()
    }
    duplicates = len(found.smiles) - len(broken) - len(distinct)
    spreads = {table.headings[key]: spread for key, (_, spread) in both.items()}
    ends = np.searchsorted(starts, np.cumsum([0, *official.values()]))
    parts = dict(zip(official, np.diff(ends).tolist(), strict=True))
    repeats = told(len(found.smiles), duplicates, spreads, replicates)
    return Molecules(
        name=name,
        sha256=digest,
        smiles=list(distinct),
        columns={key: values for key, (values, _) in both.items()},
        rows=len(found.smiles),
        broken=len(broken),
        duplicates=duplicates,
        first_broken=first_broken,
        headings=table.headings,
        spreads=spreads,
        notes=[*table.notes, *repeats],
        lines=[table.lines[i] for i in starts],
        changed=found.changed,
        merged=found.merged,
        parts=parts,
    )


# --- Cache -------------------------------------------------------------------------------------


def _cache_file(digest: str, suffix: str, arguments: list[Any]) -> Path:
    """The cache file, named after everything that its content depends on."""
    import rdkit

    asked = [_CACHE_FORMAT, rdkit.__version__, digest, suffix, *arguments]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return cache_folder() / "molecules" / f"{key}.json.gz"


def _from_cache(path: Path, name: str, digest: str) -> Molecules | None:
    """The cached molecules; None if the file is missing or broken."""
    try:
        stored = json.loads(gzip.decompress(path.read_bytes()))
        columns = {key: np.array(values) for key, values in stored.pop("columns").items()}
        spreads = {key: Spread(**values) for key, values in stored.pop("spreads").items()}
        return Molecules(name=name, sha256=digest, columns=columns, spreads=spreads, **stored)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        return None


def _to_cache(path: Path, molecules: Molecules) -> None:
    """Best effort: what cannot be cached is computed again next time."""
    stored = {
        "smiles": molecules.smiles,
        "columns": {key: values.tolist() for key, values in molecules.columns.items()},
        "rows": molecules.rows,
        "broken": molecules.broken,
        "duplicates": molecules.duplicates,
        "first_broken": molecules.first_broken,
        "headings": molecules.headings,
        "spreads": {key: asdict(spread) for key, spread in molecules.spreads.items()},
        "notes": molecules.notes,
        "lines": molecules.lines,
        "changed": molecules.changed,
        "merged": molecules.merged,
        "parts": molecules.parts,
    }
    with suppress(OSError), replacing(path) as part:
        part.write_bytes(gzip.compress(json.dumps(stored).encode(), compresslevel=1))
