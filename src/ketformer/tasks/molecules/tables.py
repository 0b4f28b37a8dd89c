"""Reading files of SMILES: tables with a header, and lists."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ketformer.errors import KetformerError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
#: Suffixes of the files that can be read.
SUFFIXES = (*_DELIMITERS, ".smi", ".smiles", ".txt")

_SMILES_NAMES = ("smiles", "canonical_smiles")
# Each digit matches in one way only, so that a long cell causes no backtracking.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        lines: the line on which each row starts, from 1.
        smiles: the SMILES as written.
        columns: the requested numeric columns.
    """

    lines: list[int]
    smiles: list[str]
    columns: dict[str, list[float]]


def read_table(path: Path, raw: bytes, column: str | None, numeric: Sequence[str]) -> Table:
    """Read the rows of a file; see :func:`~.reading.load_molecules` for the arguments.

    Args:
        path: the suffix gives the kind of file.
        raw: the bytes of the file.
        column: the column with the SMILES.
        numeric: columns to be read as numbers.

    Raises:
        KetformerError: the file is not UTF-8, not a table, lacks such a column or has no
            rows; or a cell is not a number.
    """
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise KetformerError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise KetformerError(f"{path}: line {line} holds NUL, so this is not a table, or not UTF-8")
    if delimiter := _DELIMITERS.get(path.suffix.lower()):
        table = _columns(path, text, delimiter, column, numeric)
    elif column is not None or numeric:
        raise KetformerError(f"{path}: only {' and '.join(_DELIMITERS)} files have columns")
    else:
        table = _list(text)
    if not table.smiles:
        raise KetformerError(f"{path}: the file has no molecules")
    return table


def _list(text: str) -> Table:
    """Read a SMILES from each line, ignoring whatever follows it; a heading is skipped."""
    table = Table([], [], {})
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        words = content.split(maxsplit=1)
        if words and not (line == 1 and words[0].casefold() in _SMILES_NAMES):
            table.lines.append(line)
            table.smiles.append(words[0])
    return table


def _columns(
    path: Path, text: str, delimiter: str, column: str | None, numeric: Sequence[str]
) -> Table:
    table = Table([], [], {name: [] for name in numeric})
    records = _records(path, text, delimiter)
    _, header = next(records, (0, []))
    header = [name.strip() for name in header]
    if not header:
        return table
    place = _place(path, header, column or _smiles_column(path, header))
    places = {name: _place(path, header, name) for name in numeric}
    for line, record in records:
        if len(record) != len(header):
            raise KetformerError(
                f"{path}: line {line} has {len(record)} fields, but the header has {len(header)}"
            )
        table.lines.append(line)
        table.smiles.append(record[place])
        for name, values in table.columns.items():
            if (value := _number(record[places[name]].strip())) is None:
                cell = shortened(record[places[name]])
                raise KetformerError(f"{path}: line {line}: {name} is {cell}, not a number")
            values.append(value)
    return table


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, with the lines that they start on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:  # a quote that is never closed, an enormous field
            raise KetformerError(f"{path}: line {line}: {error}") from None
        if record is None:
            return
        if any(cell.strip() for cell in record):
            yield line, record


def _smiles_column(path: Path, header: list[str]) -> str:
    names = [name for name in header if name.casefold() in _SMILES_NAMES]
    if len(names) == 1:
        return names[0]
    raise KetformerError(
        f"{path}: {len(names) or 'no'} columns are called smiles; "
        f"say which one to read; columns: {_listed(header)}"
    )


def _place(path: Path, header: list[str], name: str) -> int:
    if (times := header.count(name)) != 1:
        raise KetformerError(
            f"{path}: {times or 'no'} columns are called {name!r}; columns: {_listed(header)}"
        )
    return header.index(name)


def _number(text: str) -> float | None:
    """The number in a cell: NaN if it is empty, None if it is not a plain finite number."""
    if not text:
        return math.nan
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def _listed(names: list[str]) -> str:
    return ", ".join(map(shortened, names[:20])) + (", …" if len(names) > 20 else "")


def shortened(text: str) -> str:
    """A text as quoted in a message, cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
