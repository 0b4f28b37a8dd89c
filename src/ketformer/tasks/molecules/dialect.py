"""How a table is written: its delimiter, its header and its column of SMILES, as recognised."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.quoting import listed, matching, nearest, shortened

#: The delimiter that a suffix promises.
DELIMITERS = {".csv": ",", ".tsv": "\t"}

_TRIED = (",", ";", "\t", "|")
_SPOKEN = {"tab": "\t", "\\t": "\t", "space": " "}
_SMILES_NAMES = frozenset({"smiles", "canonicalsmiles", "isomericsmiles"})
_SEP_LINE = re.compile(r'"?sep=(.)"?[^\S\r\n]*(\r\n|\r|\n|$)', re.IGNORECASE)
_SAMPLE = 100  # records


@dataclass(frozen=True)
class Dialect:
    """What the user says about how a file is written; None is recognised.

    Attributes:
        delimiter: one character, or ``tab`` or ``space``.
        decimal: ``.`` or ``,``.
        encoding: a codec of Python, such as ``utf-8``, ``utf-16`` or ``cp1252``.
    """

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None


#: Everything is recognised.
RECOGNISED = Dialect()


@dataclass(frozen=True)
class Layout:
    """How a table is written.

    Attributes:
        delimiter: between fields.
        names: the columns as the header calls them, or their numbers from 1.
        smiles: the place of the column with SMILES.
        headed: whether the first record is a header.
        before: lines before the first record.
        notes: what is not as the suffix promises.
    """

    delimiter: str
    names: list[str]
    smiles: int
    headed: bool
    before: int
    notes: tuple[str, ...]


def recognise(
    path: Path, text: str, suffix: str, delimiter: str | None, column: str | None
) -> Layout | None:
    """How a file is written; None for a list of SMILES, or for a file of blanks.

    The delimiter is the one with which the header names the column of SMILES; without such a
    header, the one that makes a column of molecules.

    Args:
        path: for messages.
        text: the file.
        suffix: in lower case.
        delimiter: the user's choice.
        column: the user's choice: a name, or a number where there is no header.

    Raises:
        KetformerError: no such column, or several, or a table that may be read in several ways.
    """
    own = DELIMITERS.get(suffix)
    before, said = _said(text, delimiter)
    tried = [said] if said else list(dict.fromkeys([own or "\t", *_TRIED, *([] if own else " ")]))
    table = bool(own or said)
    samples: dict[str, list[list[str]]] = {}
    for mark in tried:
        samples[mark] = sample = _sample(text, mark, before)
        if len(places := _headed(sample, column)) == 1 and (
            table or (_even(sample) and len(sample[0]) > 1)
        ):
            notes = _noted(mark, own, said)
            return Layout(mark, sample[0], places[0], True, before, notes)
    if not table or not any(samples.values()):
        return None
    found = [(mark, place) for mark in tried for place in _unheaded(samples[mark], column)]
    # One column is the same in any dialect.
    found = [(mark, place) for mark, place in found if len(samples[mark][0]) > 1] or found[:1]
    if own in {mark for mark, _ in found}:
        found = [(mark, place) for mark, place in found if mark == own]
    if not found:
        shown = max(samples.values(), key=lambda sample: _even(sample) and len(sample[0]) > 1)
        raise KetformerError(f"{path}: {_complaint(shown, column)}")
    if len({mark for mark, _ in found}) > 1:
        marks = " or ".join(repr(mark) for mark in dict(found))
        raise KetformerError(f"{path}: fields may be separated by {marks}; say so with --delimiter")
    if len(found) > 1:
        numbers = " and ".join(str(place + 1) for _, place in found)
        raise KetformerError(
            f"{path}: there is no header, and columns {numbers} hold molecules; "
            "--column takes the number of one"
        )
    ((mark, place),) = found
    names = [str(i + 1) for i in range(len(samples[mark][0]))]
    notes = (*_noted(mark, own, said), f"without a header (SMILES in column {place + 1})")
    return Layout(mark, names, place, False, before, notes)


def records(path: Path, text: str, delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, with the lines that they start on.

    Args:
        path: for messages.
        text: the file.
        delimiter: between fields.
        before: lines to leave out.

    Raises:
        KetformerError: a quote that is never closed.
    """
    lines = io.StringIO(text, newline="")
    for _ in range(before):
        lines.readline()
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    most = min(len(text) + 1, 2**31 - 1)
    try:
        while True:
            line = before + reader.line_num + 1
            limit = csv.field_size_limit(most)  # of all readers in the process, so only here
            try:
                record = next(reader, None)
            finally:
                csv.field_size_limit(limit)
            if record is None:
                return
            if any(cell.strip() for cell in record):
                yield line, record
    except csv.Error as error:
        raise KetformerError(f"{path}: line {line}: {error}") from None


def column_place(path: Path, names: Sequence[str], name: str, also: Iterable[str] = ()) -> int:
    """Where a column stands, whose name is matched regardless of case if need be.

    Args:
        path: for messages.
        names: the columns.
        name: the wanted one.
        also: other names that the user may have meant.

    Raises:
        KetformerError: no such column, or several.
    """
    places = matching(name, names)
    if len(places) != 1:
        hint = "" if places else nearest(name, [*names, *also])
        raise KetformerError(
            f"{path}: {len(places) or 'no'} columns are called {name!r}; "
            f"columns: {listed(names)}{hint}"
        )
    return places[0]


def is_smiles_name(name: str) -> bool:
    """Whether a heading says that SMILES follow: ``smiles``, ``Canonical SMILES`` and the like."""
    return re.sub(r"[\s_-]", "", name).casefold() in _SMILES_NAMES


def _said(text: str, delimiter: str | None) -> tuple[int, str | None]:
    """Lines before the table, and the delimiter that the user or a line ``sep=;`` names."""
    line = _SEP_LINE.match(text)
    before = 1 if line else 0
    if delimiter is None:
        return before, line[1] if line else None
    mark = _SPOKEN.get(delimiter.casefold(), delimiter)
    if len(mark) != 1 or mark in '\r\n"':
        raise KetformerError(f"delimiter must be one character, tab or space, got {delimiter!r}")
    return before, mark


def _sample(text: str, delimiter: str, before: int) -> list[list[str]]:
    """The first records, or those before one that is none with this delimiter."""
    sample: list[list[str]] = []
    with suppress(KetformerError):
        for _, record in islice(records(Path(), text, delimiter, before), _SAMPLE):
            sample.append([cell.strip() for cell in record])
    return sample


def _headed(sample: list[list[str]], column: str | None) -> list[int]:
    """Where the header, if it is one, names the column of SMILES."""
    names = sample[0] if sample else []
    if column is not None:
        return matching(column, names)
    return [i for i, name in enumerate(names) if is_smiles_name(name)]


def _unheaded(sample: list[list[str]], column: str | None) -> list[int]:
    """The columns of molecules in a table without a header; ``column`` is the number of one."""
    if not _even(sample):
        return []
    return [
        place
        for place in range(len(sample[0]))
        if column in (None, str(place + 1))
        and parse(sample[0][place])
        and _molecules(sample, place)
    ]


def _even(sample: list[list[str]]) -> bool:
    return len({len(record) for record in sample}) == 1


def _molecules(sample: list[list[str]], place: int) -> bool:
    """Whether nine in ten cells of a column are molecules."""
    cells = [record[place] for record in sample if record[place]]
    return bool(cells) and sum(parse(cell) is not None for cell in cells) >= 0.9 * len(cells)


def _noted(mark: str, own: str | None, said: str | None) -> tuple[str, ...]:
    if mark in (own, said) or (own is None and mark.isspace()):
        return ()
    return (f"separated by {'tabs' if mark == chr(9) else repr(mark)}",)


def _complaint(sample: list[list[str]], column: str | None) -> str:
    """What to say about a table whose column of SMILES is not found."""
    names = sample[0]
    if column is not None:
        many = len(matching(column, names))
        hint = "" if many else nearest(column, names)
        return f"{many or 'no'} columns are called {column!r}; columns: {listed(names)}{hint}"
    hint = ""
    if _even(sample):
        likely = [name for i, name in enumerate(names) if _molecules(sample[1:], i)]
        hint = f"; {shortened(likely[0])} holds molecules" if len(likely) == 1 else ""
    return (
        f"{len(_headed(sample, None)) or 'no'} columns are called smiles; "
        f"--column says which one to read; columns: {listed(names)}{hint}"
    )
