"""Reading files of molecules: tables, lists of SMILES, and SDF."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ketformer.errors import KetformerError
from ketformer.tasks.file_encoding import decoded, decompressed
from ketformer.tasks.molecules.dialect import (
    DELIMITERS,
    RECOGNISED,
    Dialect,
    Layout,
    column_place,
    is_smiles_name,
    recognise,
    records,
)
from ketformer.tasks.molecules.numbers import decimal_mark, read_numbers
from ketformer.tasks.molecules.properties import PROPERTIES
from ketformer.tasks.molecules.quoting import matching
from ketformer.tasks.molecules.sdf import read_sdf

_SDF = (".sdf", ".sd")
#: Suffixes of the files that can be read, each also with ``.gz``.
SUFFIXES = (*DELIMITERS, ".smi", ".smiles", ".txt", *_SDF)

# None of these marks is SMILES.
_AFTER_SMILES = re.compile(r"[\s,;|]")


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        lines: the line on which each row starts, from 1.
        smiles: the SMILES as written.
        columns: the requested numeric columns, by the name asked for.
        headings: those names as the file writes them.
        notes: lines about how the file was read.
    """

    lines: list[int]
    smiles: list[str]
    columns: dict[str, list[float]]
    headings: dict[str, str]
    notes: list[str]


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, in lower case and without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_table(
    path: Path,
    raw: bytes,
    column: str | None = None,
    numeric: Sequence[str] = (),
    optional: Sequence[str] = (),
    dialect: Dialect = RECOGNISED,
    *,
    progress: bool = True,
) -> Table:
    """Read the rows of a file; see :func:`~.reading.load_molecules` for the arguments.

    Args:
        path: the suffix gives the kind of file.
        raw: the bytes of the file.
        column: the column with the SMILES.
        numeric: columns to be read as numbers.
        optional: the same, if the file has them.
        dialect: how the file is written.
        progress: show a bar while structures are read.

    Raises:
        KetformerError: the file is not text or not a table, lacks such a column, has no rows, or
            may be read in several ways; or most cells of a column are not numbers.
    """
    suffix = suffix_of(path)
    content = decompressed(path, raw)
    text, encoding = decoded(path, content, dialect.encoding, otherwise="cp1252")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise KetformerError(
            f"{path}: line {line} holds NUL, so this is not a table, or not {encoding.upper()}; "
            "--encoding names another"
        )
    how = [] if dialect.encoding or encoding == "utf-8" else [f"as {encoding.upper()}"]
    if suffix in _SDF:
        if column is not None or dialect.delimiter is not None:
            raise KetformerError(f"{path}: an SDF file has no column of SMILES and no delimiter")
        entries = read_sdf(text, progress, f"reading {path.name}")
        lines, smiles = [line for line, _, _ in entries], [text for _, text, _ in entries]
        names = list(dict.fromkeys(name for _, _, fields in entries for name in fields))
        chosen = _chosen(path, names, numeric, optional)
        cells = {key: [f.get(names[i], "") for _, _, f in entries] for key, i in chosen.items()}
    elif layout := recognise(path, text, suffix, dialect.delimiter, column):
        how += layout.notes
        names = layout.names
        chosen = _chosen(path, names, numeric, optional)
        lines, smiles, cells = _fields(path, text, layout, chosen)
    else:
        if column is not None or numeric:
            raise KetformerError(f"{path}: a list of SMILES without a header has no columns")
        names, chosen, cells = [], {}, {}
        lines, smiles = _list(text)
    if not smiles:
        raise KetformerError(f"{path}: the file has no molecules")
    decimal = decimal_mark(path, cells, lines, dialect.decimal)
    how += ["with decimal commas"] if decimal == "," and dialect.decimal is None else []
    notes = [f"read {', '.join(how)}"] if how else []
    columns = {}
    for key, place in chosen.items():
        columns[key], said = read_numbers(path, names[place], cells[key], lines, decimal)
        notes += said
    return Table(lines, smiles, columns, {key: names[i] for key, i in chosen.items()}, notes)


def _chosen(
    path: Path, names: Sequence[str], numeric: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    """Where the wanted columns stand, by the names asked for."""
    there = [name for name in optional if matching(name, names)]
    return {name: column_place(path, names, name, PROPERTIES) for name in (*numeric, *there)}


def _fields(
    path: Path, text: str, layout: Layout, chosen: dict[str, int]
) -> tuple[list[int], list[str], dict[str, list[str]]]:
    lines: list[int] = []
    smiles: list[str] = []
    cells: dict[str, list[str]] = {key: [] for key in chosen}
    rows = records(path, text, layout.delimiter, layout.before)
    if layout.headed:
        next(rows)
    width = len(layout.names)
    for line, record in rows:
        if len(record) != width:
            first = "the header" if layout.headed else "the first line"
            raise KetformerError(
                f"{path}: line {line} has {len(record)} fields, but {first} has {width}"
            )
        lines.append(line)
        smiles.append(record[layout.smiles])
        for key, place in chosen.items():
            cells[key].append(record[place])
    return lines, smiles, cells


def _list(text: str) -> tuple[list[int], list[str]]:
    """A SMILES from each line, ignoring whatever follows it; a heading is skipped."""
    lines, smiles = [], []
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        if not (content := content.strip()):
            continue
        word = _AFTER_SMILES.split(content, maxsplit=1)[0] or content
        if not (line == 1 and is_smiles_name(word)):
            lines.append(line)
            smiles.append(word)
    return lines, smiles
