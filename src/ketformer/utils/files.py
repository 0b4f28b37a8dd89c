"""Writing files whole or not at all, and clear errors for files that cannot be read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that replaces it if the block succeeds.

    If the block raises, the temporary file is removed and ``path`` is unchanged. A missing folder
    is created. Processes that write the same file at once do not mix their content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that becomes ``path`` if the block succeeds.

    If the block raises, nothing is left of it.

    Raises:
        KetformerError: ``path`` exists, and is not an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise KetformerError(f"{path} exists; choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        yield part
        if path.exists():
            path.rmdir()
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as part:
        part.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of a ``.jsonl`` file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_bytes(path: Path) -> bytes:
    """The whole content of a file.

    Raises:
        KetformerError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise KetformerError(f"{path}: cannot be read ({error.strerror})") from None


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; the file is read in blocks.

    Raises:
        KetformerError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise KetformerError(f"{path}: cannot be read ({error.strerror})") from None


def cache_folder() -> Path:
    """The cache folder: ``$XDG_CACHE_HOME/ketformer``, or ``~/.cache/ketformer``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ketformer"


def picture_kind(path: str | Path, kinds: Sequence[str] = ("png", "svg")) -> str:
    """The kind of picture that a file's suffix stands for, one of ``kinds``.

    Raises:
        KetformerError: another suffix.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in kinds:
        *others, last = (f".{known}" for known in kinds)
        raise KetformerError(
            f"{str(path)!r}: the name of a picture must end in {', '.join(others)} or {last}"
        )
    return kind
