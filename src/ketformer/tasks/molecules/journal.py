"""Progress of a long sampling, kept beside its table so that the same command can resume it."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ketformer.tasks.molecules.output import part_of
from ketformer.utils.files import replacing


@dataclass(frozen=True)
class Progress:
    """The part of a table that is safely on disk.

    Attributes:
        rows: number of molecules in it.
        size: size of the file with these, in bytes.
        generator: state of the random generator after them, in hexadecimal.
    """

    rows: int
    size: int
    generator: str


class Journal:
    """Notes the progress after each block, and tells where to resume an unfinished table.

    Args:
        table: the final CSV file.
        facts: everything that decides its content, by name, as JSON has it; notes with others are
            ignored.
        num: number of rows in the finished table.
    """

    def __init__(self, table: Path, facts: Mapping[str, Any], num: int) -> None:
        self.table = table
        self.facts = facts
        self.num = num
        self.file = _file_of(table)

    def read(self) -> Progress | None:
        """The progress of an interrupted call of the same kind; None if there was none."""
        try:
            note = json.loads(self.file.read_text(encoding="utf-8"))
            facts, progress = note.pop("facts"), Progress(**note)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        written = self.written(progress)
        if facts != self.facts:
            if progress.rows < self.num and written.is_file():
                warnings.warn(
                    f"{self.table} was left unfinished by another command; starting over",
                    stacklevel=2,
                )
            return None
        if not written.is_file() or written.stat().st_size < progress.size:
            return None
        return progress

    def written(self, progress: Progress) -> Path:
        """The file that holds the rows; it has its final name once it has all of them."""
        part = part_of(self.table)
        return self.table if progress.rows == self.num and not part.is_file() else part

    def note(self, progress: Progress) -> None:
        """Save the progress; after a crash either the old note or the new one is there."""
        with replacing(self.file) as part, part.open("w", encoding="utf-8") as file:
            json.dump({"facts": self.facts, **asdict(progress)}, file)
            file.flush()
            os.fsync(file.fileno())

    def rows(self, progress: Progress, size: int) -> Iterator[Sequence[dict[str, str]]]:
        """The rows that are safely on disk, in blocks of ``size``."""
        with self.written(progress).open(encoding="utf-8", newline="") as file:
            rows = islice(csv.DictReader(file), progress.rows)
            while block := list(islice(rows, size)):
                yield block


def rows_noted(table: Path) -> int:
    """How many rows of a table are noted as safely on disk, by whatever call; for a bar."""
    return noted(table)[0]


def noted(table: Path) -> tuple[int, dict[str, Any]]:
    """How many rows of a table are noted as safely on disk, and what decided them."""
    try:
        note = json.loads(_file_of(table).read_text(encoding="utf-8"))
        return int(note["rows"]), dict(note["facts"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0, {}


def forget(table: Path) -> None:
    """Remove the notes of a finished table, so that the next call starts over."""
    _file_of(table).unlink(missing_ok=True)


def _file_of(table: Path) -> Path:
    return table.with_name(f".{table.name}.journal")
