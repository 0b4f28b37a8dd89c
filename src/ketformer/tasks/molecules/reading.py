"""Sets of molecules, by name or from files, as distinct canonical SMILES."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.molecules.embedded import MAX_HEAVY_ATOMS, embedded_smiles
from ketformer.tasks.molecules.standardise import Standardised, standardised
from ketformer.tasks.molecules.tables import SUFFIXES, Table, read_table, shortened
from ketformer.utils.files import cache_folder, read_bytes, replacing

#: The sets that :func:`load_molecules` knows by name.
MOLECULE_SETS = ("embedded", "qm9")

# Raise it when the same file would give a different result.
_CACHE_FORMAT = 3


@dataclass(frozen=True)
class Molecules:
    """Distinct molecules and where they came from.

    Attributes:
        name: as requested.
        sha256: the hash of the file, or of the embedded set.
        smiles: canonical (RDKit) and distinct, in the order of the file, without atom maps and
            the marks that were to be removed.
        columns: the requested numeric columns, float64, in the order of ``smiles``;
            of equal molecules the first counts. An empty cell is NaN.
        rows: number of molecules in the file.
        broken: how many of them RDKit cannot read; they are left out.
        duplicates: how many equal an earlier one; they are left out.
        first_broken: the first broken one with its line; None if there is none.
        lines: the line on which each molecule is first; empty if there is no file.
        changed: by mark, the number of rows from which it was removed.
        merged: how many of the duplicates differed only in these marks.
    """

    name: str
    sha256: str
    smiles: list[str]
    columns: dict[str, np.ndarray]
    rows: int
    broken: int
    duplicates: int
    first_broken: str | None
    lines: list[int] = field(default_factory=list)
    changed: dict[str, int] = field(default_factory=dict)
    merged: int = 0


def load_molecules(
    name_or_path: str,
    *,
    column: str | None = None,
    numeric: Sequence[str] = (),
    marks: Sequence[str] = (),
    max_heavy_atoms: int = MAX_HEAVY_ATOMS,
    progress: bool = True,
) -> Molecules:
    """Load a named set, or the molecules of a file; RDKit's result for a file is cached.

    Args:
        name_or_path: ``embedded``, ``qm9``, a ``.csv`` or ``.tsv`` file with a
            header, or a ``.smi``, ``.smiles`` or ``.txt`` file with a SMILES and
            perhaps a name on each line.
        column: the column of a table with the SMILES; by default the one called
            ``smiles`` or ``canonical_smiles``, in upper or lower case.
        numeric: columns of a table to be read as numbers.
        marks: what to remove from each molecule besides atom maps: keys of
            :data:`~ketformer.tasks.molecules.standardise.MARKS`.
        max_heavy_atoms: size of the largest molecules of the embedded set.
        progress: show a bar while the molecules of a large file are read.

    Raises:
        KetformerError: no such name, file or column; a file that is not UTF-8 or not
            a table; a cell that is not a number; no molecule that RDKit can read; a worker
            process that was killed.
    """
    if name_or_path == "embedded":
        if column is not None or numeric:
            raise KetformerError("the embedded molecules have no columns")
        smiles = embedded_smiles(max_heavy_atoms)
        digest = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
        return Molecules("embedded", digest, smiles, {}, len(smiles), 0, 0, None)
    path = _find(name_or_path)
    raw = read_bytes(path)
    digest = hashlib.sha256(raw).hexdigest()
    cached = _cache_file(digest, path.suffix.lower(), column, numeric, marks)
    if (molecules := _from_cache(cached, name_or_path, digest)) is None:
        table = read_table(path, raw, column, numeric)
        found = standardised(table.smiles, marks, progress=progress, label=f"reading {path.name}")
        molecules = _molecules(path, name_or_path, digest, table, found)
        _to_cache(cached, molecules)
    return molecules


# --- Files -------------------------------------------------------------------------------------


def _find(name_or_path: str) -> Path:
    if name_or_path == "qm9":
        return locate(DATASETS["qm9"])
    path = Path(name_or_path)
    if not os.path.isfile(path):
        known = ", ".join(MOLECULE_SETS)
        raise KetformerError(f"no molecule set or file {name_or_path!r}; molecule sets: {known}")
    if path.suffix.lower() not in SUFFIXES:
        raise KetformerError(f"{path}: molecule files end in one of {', '.join(SUFFIXES)}")
    return path


def _molecules(path: Path, name: str, digest: str, table: Table, found: Standardised) -> Molecules:
    first: dict[str, int] = {}
    broken = []
    for i, smiles in enumerate(found.smiles):
        if smiles is None:
            broken.append(i)
        else:
            first.setdefault(smiles, i)
    first_broken = None
    if broken:
        first_broken = f"line {table.lines[broken[0]]}: {shortened(table.smiles[broken[0]])}"
    if not first:
        raise KetformerError(f"{path}: no SMILES that RDKit can read; {first_broken}")
    kept = list(first.values())
    return Molecules(
        name=name,
        sha256=digest,
        smiles=list(first),
        columns={key: np.array(values)[kept] for key, values in table.columns.items()},
        rows=len(found.smiles),
        broken=len(broken),
        duplicates=len(found.smiles) - len(broken) - len(first),
        first_broken=first_broken,
        lines=[table.lines[i] for i in kept],
        changed=found.changed,
        merged=found.merged,
    )


# --- Cache -------------------------------------------------------------------------------------


def _cache_file(
    digest: str, suffix: str, column: str | None, numeric: Sequence[str], marks: Sequence[str]
) -> Path:
    """The cache file, named after everything that its content depends on."""
    import rdkit

    asked = [_CACHE_FORMAT, rdkit.__version__, digest, suffix, column, list(numeric), list(marks)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return cache_folder() / "molecules" / f"{key}.json.gz"


def _from_cache(path: Path, name: str, digest: str) -> Molecules | None:
    """The cached molecules; None if the file is missing or broken."""
    try:
        stored = json.loads(gzip.decompress(path.read_bytes()))
        columns = {key: np.array(values) for key, values in stored.pop("columns").items()}
        return Molecules(name=name, sha256=digest, columns=columns, **stored)
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
        "lines": molecules.lines,
        "changed": molecules.changed,
        "merged": molecules.merged,
    }
    with suppress(OSError), replacing(path) as part:
        part.write_bytes(gzip.compress(json.dumps(stored).encode(), compresslevel=1))
