"""Sets of molecules, by name or from files, as distinct canonical SMILES."""

from __future__ import annotations

import gzip
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, cache_folder, locate
from ketformer.tasks.molecules.embedded import MAX_HEAVY_ATOMS, embedded_smiles
from ketformer.tasks.molecules.tables import SUFFIXES, Table, read_table, shortened

#: What :func:`load_molecules` knows by name.
MOLECULE_SETS = ("embedded", "qm9")

# To be raised when the same file would now give something else.
_CACHE_FORMAT = 1
_CHUNK = 2000
# RDKit recurses along chains; some 10,000 atoms overflow its stack and end the process.
_LONGEST = 2000


@dataclass(frozen=True)
class Molecules:
    """Distinct molecules and where they came from.

    Attributes:
        name: as asked for.
        sha256: of the file, or of the embedded set.
        smiles: canonical (RDKit) and distinct, in the order of the file.
        columns: the numeric columns asked for, float64, in the order of ``smiles``;
            of equal molecules the first counts. An empty cell is NaN.
        rows: molecules in the file.
        broken: those of them that RDKit cannot read; they are left out.
        duplicates: those that equal an earlier one; they are left out.
        first_broken: the first broken one with its line; None if there is none.
    """

    name: str
    sha256: str
    smiles: list[str]
    columns: dict[str, np.ndarray]
    rows: int
    broken: int
    duplicates: int
    first_broken: str | None


def load_molecules(
    name_or_path: str,
    *,
    column: str | None = None,
    numeric: Sequence[str] = (),
    max_heavy_atoms: int = MAX_HEAVY_ATOMS,
    progress: bool = True,
) -> Molecules:
    """A named set, or the molecules of a file; what RDKit makes of a file is cached.

    Args:
        name_or_path: ``embedded``, ``qm9``, a ``.csv`` or ``.tsv`` file with a
            header, or a ``.smi``, ``.smiles`` or ``.txt`` file with a SMILES and
            perhaps a name on each line.
        column: of a table, with the SMILES; unless given, the one that is called
            ``smiles`` or ``canonical_smiles`` in whatever case.
        numeric: columns of a table to be read as numbers.
        max_heavy_atoms: of the embedded set.
        progress: show a bar while the molecules of a large file are read.

    Raises:
        KetformerError: no such name, file or column; a file that is not UTF-8 or not
            a table; a cell that is not a number; no molecule that RDKit can read.
    """
    if name_or_path == "embedded":
        if column is not None or numeric:
            raise KetformerError("the embedded molecules have no columns")
        smiles = embedded_smiles(max_heavy_atoms)
        digest = hashlib.sha256("\n".join(smiles).encode()).hexdigest()
        return Molecules("embedded", digest, smiles, {}, len(smiles), 0, 0, None)
    path = _find(name_or_path)
    raw = _read(path)
    digest = hashlib.sha256(raw).hexdigest()
    cached = _cache_file(digest, path.suffix.lower(), column, numeric)
    if (molecules := _from_cache(cached, name_or_path, digest)) is None:
        table = read_table(path, raw, column, numeric)
        canonical = canonicalise(table.smiles, progress=progress, label=f"reading {path.name}")
        molecules = _molecules(path, name_or_path, digest, table, canonical)
        _to_cache(cached, molecules)
    return molecules


def canonicalise(
    smiles: Sequence[str],
    *,
    processes: int | None = None,
    progress: bool = True,
    label: str = "canonicalise",
) -> list[str | None]:
    """RDKit's canonical SMILES of each; None where it is not a molecule.

    Nor is what has no atoms, has a blank inside, or is longer than 2,000 characters.

    Args:
        smiles: any texts.
        processes: at most that many; one for each available core unless given.
        progress: show a bar on stderr, if there are some thousands.
        label: of the bar.
    """
    chunks = [smiles[i : i + _CHUNK] for i in range(0, len(smiles), _CHUNK)]
    processes = min(processes or _cores(), len(chunks))
    result: list[str | None] = []
    with ExitStack() as stack:
        run: Callable[..., Iterator[list[str | None]]] = map
        if processes > 1:
            # Forked, for a fresh process would import torch for longer than it works (QM9
            # takes seconds). That is safe here although torch has threads: the workers use
            # nothing but RDKit, which has none.
            import rdkit.Chem  # noqa: F401  # once, not once in each worker

            context = multiprocessing.get_context("fork")
            run = stack.enter_context(ProcessPoolExecutor(processes, context)).map
        bar = stack.enter_context(
            tqdm(
                total=len(smiles),
                desc=label,
                disable=not progress or len(chunks) < 2,
                leave=False,
                unit=" molecules",
            )
        )
        for part in run(_canonical_chunk, chunks):
            result += part
            bar.update(len(part))
    return result


def _cores() -> int:
    """How many processes may work at once: one wherever forking is not safe."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _canonical_chunk(smiles: Sequence[str]) -> list[str | None]:
    from rdkit import rdBase

    with rdBase.BlockLogs():
        return [_canonical(text.strip()) for text in smiles]


def _canonical(smiles: str) -> str | None:
    from rdkit import Chem

    # RDKit would take what follows a blank for a name.
    if len(smiles) > _LONGEST or len(smiles.split()) != 1:
        return None
    try:
        molecule = Chem.MolFromSmiles(smiles)
        return (Chem.MolToSmiles(molecule) or None) if molecule else None
    except (RuntimeError, ValueError):  # a broken invariant inside RDKit; text without UTF-8
        return None


# --- Files -------------------------------------------------------------------------------------


def _find(name_or_path: str) -> Path:
    if name_or_path == "qm9":
        return locate(DATASETS["qm9"])
    path = Path(name_or_path)
    if not os.path.isfile(path):
        known = ", ".join(MOLECULE_SETS)
        raise KetformerError(
            f"no set of molecules or file {name_or_path!r}; sets of molecules: {known}"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise KetformerError(f"{path}: files of molecules end in one of {', '.join(SUFFIXES)}")
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KetformerError(f"{path}: cannot be read ({error.strerror})") from None


def _molecules(
    path: Path, name: str, digest: str, table: Table, canonical: list[str | None]
) -> Molecules:
    first: dict[str, int] = {}
    broken = []
    for i, smiles in enumerate(canonical):
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
        rows=len(canonical),
        broken=len(broken),
        duplicates=len(canonical) - len(broken) - len(first),
        first_broken=first_broken,
    )


# --- Cache -------------------------------------------------------------------------------------


def _cache_file(digest: str, suffix: str, column: str | None, numeric: Sequence[str]) -> Path:
    """Named after everything that its content depends on."""
    import rdkit

    asked = [_CACHE_FORMAT, rdkit.__version__, digest, suffix, column, list(numeric)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    return cache_folder() / "molecules" / f"{key}.json.gz"


def _from_cache(path: Path, name: str, digest: str) -> Molecules | None:
    """None if there is nothing, or nothing whole."""
    try:
        stored = json.loads(gzip.decompress(path.read_bytes()))
        columns = {key: np.array(values) for key, values in stored.pop("columns").items()}
        return Molecules(name=name, sha256=digest, columns=columns, **stored)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        return None


def _to_cache(path: Path, molecules: Molecules) -> None:
    """Best effort: what cannot be kept is worked out again next time."""
    stored = {
        "smiles": molecules.smiles,
        "columns": {key: values.tolist() for key, values in molecules.columns.items()},
        "rows": molecules.rows,
        "broken": molecules.broken,
        "duplicates": molecules.duplicates,
        "first_broken": molecules.first_broken,
    }
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(gzip.compress(json.dumps(stored).encode(), compresslevel=1))
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
