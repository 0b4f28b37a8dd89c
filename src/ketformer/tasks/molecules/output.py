"""Files of molecules: a table written block by block, and SDF."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ketformer.tasks.file_encoding import decompressed
from ketformer.tasks.molecules.chemistry import parse
from ketformer.utils.files import replacing

if TYPE_CHECKING:
    from rdkit.Chem import Mol

COLUMNS = ("smiles", "canonical_smiles", "valid", "duplicate", "novel", "in_training")
_EMBEDDING_SEED = 0x5DF


def written_column(path: Path, raw: bytes) -> str | None:
    """The column to read of a table that ``generate`` wrote, as sampled; None for another file.

    The next column holds the same molecules, canonical.

    Args:
        path: for messages.
        raw: the bytes of the file.
    """
    return COLUMNS[0] if decompressed(path, raw).startswith(",".join(COLUMNS).encode()) else None


def part_of(table: Path) -> Path:
    """Where a table is written until it is complete, and is found again after a kill."""
    return table.with_name(f".{table.name}.part")


class MoleculeTable:
    """A CSV of sampled molecules that holds one block of rows in memory at a time.

    The file gets its final name when the ``with`` block ends without an exception. Until
    then, and after an exception, an existing table of that name is unchanged, and the new
    rows are in a file beside it.

    Args:
        path: the CSV file; its folder is created.
        properties: names of the property columns, in the order of the array's columns.
        requested: the requested values, the same in every row, in columns
            ``requested_<name>``.
        flags: names of further columns that hold true or false.
        size: bytes of an unfinished table to resume.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        properties: Sequence[str] = (),
        requested: Mapping[str, float] | None = None,
        flags: Sequence[str] = (),
        *,
        size: int = 0,
    ) -> None:
        self.path = Path(path)
        self._size = size
        self._properties = tuple(properties)
        self._requested = dict(requested or {})
        self._flags = tuple(flags)

    def __enter__(self) -> MoleculeTable:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(self.path)
        self._file = part.open("r+" if self._size else "w", encoding="utf-8", newline="")
        self._file.truncate(self._size)
        self._file.seek(self._size)
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not self._size:
            requested = (f"requested_{name}" for name in self._requested)
            self._writer.writerow([*COLUMNS, *self._properties, *requested, *self._flags])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError:  # the disk is full: the pending exception says so
            if error is None:
                raise
        if error is None:
            part_of(self.path).replace(self.path)

    def sync(self) -> int:
        """Write everything to disk; return the number of bytes so far."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def write(
        self,
        sampled: Sequence[str],
        canonical: Sequence[str | None],
        valid: Sequence[bool],
        duplicate: Sequence[bool | None],
        novel: Sequence[bool | None],
        in_training: Sequence[bool | None],
        properties: NDArray[np.floating] | None = None,
        flags: Sequence[Sequence[bool]] = (),
    ) -> None:
        """Append N rows.

        Args:
            sampled: N SMILES as sampled.
            canonical: N canonical SMILES, None where there is none.
            valid: for each, whether it is a molecule.
            duplicate: for each, whether it came before; None leaves the cell empty.
            novel: for each, whether it is nowhere in the data; None leaves the cell empty.
            in_training: for each, whether it is in the training part, likewise.
            properties: ``[N, P]``, P the number of property columns, NaN where unknown; it may
                be left out if the table has no property columns.
            flags: N values for each of the further columns.

        Raises:
            ValueError: the columns have different lengths.
        """
        values = np.empty((len(sampled), 0)) if properties is None else np.asarray(properties)
        if values.shape != (len(sampled), len(self._properties)):
            expected = (len(sampled), len(self._properties))
            raise ValueError(f"properties: expected shape {expected}, got {values.shape}")
        requested = [number_text(value) for value in self._requested.values()]
        further = zip(*flags, strict=True) if self._flags else [()] * len(sampled)
        rows = zip(
            sampled, canonical, valid, duplicate, novel, in_training, values, further, strict=True
        )
        self._writer.writerows(
            [
                smiles,
                canon or "",
                *(flag_text(flag) for flag in facts),
                *(number_text(value) for value in numbers),
                *requested,
                *(flag_text(flag) for flag in last),
            ]
            for smiles, canon, *facts, numbers, last in rows
        )


def write_sdf(
    path: str | Path,
    smiles: Sequence[str],
    properties: NDArray[np.floating] | None = None,
    names: Sequence[str] = (),
    three_dimensional: bool = False,
    progress: bool = True,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Write the valid molecules as SDF, whole or not at all.

    A record's name is its SMILES as given. In three dimensions the hydrogens are explicit and
    the coordinates (in Å) come from ETKDG and MMFF94 with a fixed seed; a molecule that cannot
    be embedded is written flat, and a warning says how many there are.

    Args:
        path: the file; its folder is created.
        smiles: N SMILES; invalid ones are skipped.
        properties: ``[N, P]``, written as the fields ``names``; NaN leaves the field out.
        names: P names.
        three_dimensional: write coordinates in space instead of those of a flat drawing.
        progress: show a bar.
        texts: N texts for each further field; an empty one leaves the field out.

    Returns:
        The number of molecules written.

    Raises:
        ValueError: ``properties`` does not have a row for each SMILES and a column for each
            name.
        OSError: the file cannot be written.
    """
    from rdkit.Chem import SDWriter

    values = np.empty((len(smiles), 0)) if properties is None else np.asarray(properties)
    if values.shape != (len(smiles), len(names)):
        raise ValueError(
            f"properties: expected shape {(len(smiles), len(names))}, got {values.shape}"
        )
    written = flat = 0
    words = list(zip(*(texts or {}).values(), strict=True)) or [()] * len(smiles)
    rows = tqdm(zip(smiles, values, words, strict=True), "SDF", len(smiles), disable=not progress)
    with replacing(Path(path)) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for text, numbers, own in rows:
            molecule = parse(text)
            if molecule is None:
                continue
            if three_dimensional:
                molecule, embedded = _embed(molecule)
                flat += not embedded
            else:
                molecule = _flatten(molecule)
            molecule.SetProp("_Name", text)
            for name, value in zip(names, numbers, strict=True):
                if not math.isnan(value):
                    molecule.SetProp(name, number_text(value))
            for name, word in zip(texts or {}, own, strict=True):
                if word:
                    molecule.SetProp(name, word)
            # The writer's own stream would not report a full disk; Python's file does.
            file.write(SDWriter.GetText(molecule))
            written += 1
    if flat:
        warnings.warn(
            f"{path}: {flat} of {written} molecules could not be embedded in three dimensions "
            "and have flat coordinates",
            stacklevel=2,
        )
    return written


def _embed(molecule: Mol) -> tuple[Mol, bool]:
    """The molecule with hydrogens and coordinates, and whether these are three-dimensional."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed = _EMBEDDING_SEED
    full = Chem.AddHs(molecule)
    with rdBase.BlockLogs():
        if rdDistGeom.EmbedMolecule(full, options) != 0:
            return _flatten(molecule), False
        # Where MMFF94 has no parameters, the geometry from ETKDG stays.
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
            rdForceFieldHelpers.MMFFOptimizeMolecule(full)
    return full, True


def _flatten(molecule: Mol) -> Mol:
    from rdkit.Chem import rdDepictor

    rdDepictor.Compute2DCoords(molecule)
    return molecule


def flag_text(value: bool | None) -> str:
    """The cell of a flag; empty if it is not known."""
    return "" if value is None else "true" if value else "false"


def number_text(value: float) -> str:
    """The cell of a number, six digits; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6g}"
