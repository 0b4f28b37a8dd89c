"""Reading files of molecules: tables, lists of SMILES, and SDF."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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

# What columns with the names of molecules are called, without blanks, hyphens and underscores;
# those before say more.
_ID_NAMES = (
    "id", "identifier", "compoundid", "moleculeid", "molid", "cid", "chemblid",
    "moleculechemblid", "zincid", "pubchemcid", "casnumber", "cas", "name", "compoundname",
    "compound", "moleculename", "title",
)  # fmt: skip

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
        ids: the names of the molecules, empty where there is none; None if not asked for.
    """

    lines: list[int]
    smiles: list[str]
    columns: dict[str, list[float]]
    headings: dict[str, str]
    notes: list[str]
    ids: list[str] | None = None


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
    with_ids: bool = False,
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
        with_ids: read the names of the molecules too: a column or field called ``id``, ``name`` or
            the like, the title of a structure, or what follows a SMILES in a list.
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
    guessed = encoding == "cp1252" and dialect.encoding is None
    if suffix in _SDF:
        if column is not None or dialect.delimiter is not None:
            raise KetformerError(f"{path}: an SDF file has no column of SMILES and no delimiter")
        rows = _structures(path, text, numeric, optional, progress, with_ids)
    else:
        with _doubting(encoding if guessed else None):
            layout = recognise(path, text, suffix, dialect.delimiter, column)
            if layout is None and (column is not None or numeric):
                raise KetformerError(
                    f"{path}: a list of SMILES without a header has no columns; --delimiter makes "
                    "it a table"
                )
            rows = (
                _fields(path, text, layout, numeric, optional, with_ids)
                if layout
                else _list(text, with_ids)
            )
            how += layout.notes if layout else ()
    if not rows.smiles:
        raise KetformerError(f"{path}: the file has no molecules")
    decimal = decimal_mark(path, rows.cells, rows.lines, dialect.decimal)
    how += ["with decimal commas"] if decimal == "," and dialect.decimal is None else []
    notes = [f"read {', '.join(how)}"] if how else []
    columns = {}
    for key, cells in rows.cells.items():
        columns[key], said = read_numbers(path, rows.headings[key], cells, rows.lines, decimal)
        notes += said
    ids = rows.ids or [""] * len(rows.smiles) if with_ids else None
    return Table(rows.lines, rows.smiles, columns, rows.headings, notes, ids)


@dataclass(frozen=True)
class _Rows:
    """The rows as written: the wanted cells and their headings, by the names asked for."""

    lines: list[int]
    smiles: list[str]
    headings: dict[str, str]
    cells: dict[str, list[str]]
    ids: list[str] = field(default_factory=list)


@contextmanager
def _doubting(encoding: str | None) -> Iterator[None]:
    """Add to an error about names that the encoding they are read in is a guess."""
    try:
        yield
    except KetformerError as error:
        if encoding is None:
            raise
        raise KetformerError(
            f"{error}; read as {encoding.upper()}, --encoding names another"
        ) from None


def _chosen(
    path: Path, names: Sequence[str], numeric: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    """Where the wanted columns stand, by the names asked for."""
    there = [name for name in optional if matching(name, names)]
    return {name: column_place(path, names, name, PROPERTIES) for name in (*numeric, *there)}


def _id_place(names: Sequence[str]) -> int | None:
    """Where the names of the molecules stand, if a column's own name says so."""
    plain = [re.sub(r"[\s_-]", "", name).casefold() for name in names]
    return next((plain.index(name) for name in _ID_NAMES if name in plain), None)


def _structures(
    path: Path,
    text: str,
    numeric: Sequence[str],
    optional: Sequence[str],
    progress: bool,
    with_ids: bool,
) -> _Rows:
    entries = read_sdf(text, progress, f"reading {path.name}")
    names = list(dict.fromkeys(name for _, _, fields, _ in entries for name in fields))
    chosen = _chosen(path, names, numeric, optional)
    headings = {key: names[place] for key, place in chosen.items()}
    place = _id_place(names)
    own_id = "" if place is None else names[place]
    return _Rows(
        [line for line, _, _, _ in entries],
        [smiles for _, smiles, _, _ in entries],
        headings,
        {key: [own.get(name, "") for _, _, own, _ in entries] for key, name in headings.items()},
        [own.get(own_id) or title for _, _, own, title in entries] if with_ids else [],
    )


def _fields(
    path: Path,
    text: str,
    layout: Layout,
    numeric: Sequence[str],
    optional: Sequence[str],
    with_ids: bool,
) -> _Rows:
    chosen = _chosen(path, layout.names, numeric, optional)
    headings = {key: layout.names[place] for key, place in chosen.items()}
    rows = _Rows([], [], headings, {key: [] for key in chosen})
    content = records(path, text, layout.delimiter, layout.before)
    if layout.headed:
        next(content)
    width = len(layout.names)
    id_place = _id_place(layout.names) if with_ids else None
    for line, record in content:
        if len(record) != width:
            first = "the header" if layout.headed else "the first line"
            raise KetformerError(
                f"{path}: line {line} has {len(record)} fields, but {first} has {width}"
            )
        rows.lines.append(line)
        rows.smiles.append(record[layout.smiles])
        if id_place is not None:
            rows.ids.append(record[id_place].strip())
        for key, place in chosen.items():
            rows.cells[key].append(record[place])
    return rows


def _list(text: str, with_ids: bool) -> _Rows:
    """A SMILES from each line, ignoring whatever follows it; a heading is skipped."""
    rows = _Rows([], [], {}, {})
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        if not (content := content.strip()):
            continue
        word = _AFTER_SMILES.split(content, maxsplit=1)[0] or content
        if not (line == 1 and is_smiles_name(word)):
            rows.lines.append(line)
            rows.smiles.append(word)
            if with_ids:
                rows.ids.append(content[len(word) :].strip(" \t,;|"))
    return rows
