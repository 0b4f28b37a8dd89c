"""Folders and files that one process at a time writes to."""

from __future__ import annotations

import getpass
import inspect
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from ketformer.errors import KetformerError
from ketformer.utils.files import write_json

# The operating system's lock is on the first, and ends with its process; the second says whose
# it is.
_LOCK = ".in-use"
_HOLDER = ".in-use.json"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def in_use(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs.

    It is created if missing, and removed again if the block leaves nothing in it. A process that
    is killed holds nothing. The same thread may enter a folder again. Of several processes that
    train together, the first holds the folder for all.

    Args:
        folder: a run directory, or the folder of a comparison.
        wait: seconds to wait for another process to be done with it.

    Raises:
        KetformerError: another process is using it; the message says which.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    inside = folder.resolve()
    with _held(inside / _LOCK, inside / _HOLDER, wait, f"{folder}: in use by", "--out"):
        yield


@contextmanager
def file_in_use(path: Path, option: str) -> Iterator[None]:
    """Keep other processes out of a file while the block runs, as :func:`in_use` does of a folder.

    Args:
        path: the file, which need not exist.
        option: the option that names the file, for the message: ``--journal``.

    Raises:
        KetformerError: another process is using it; the message says which.
    """
    whole = path.resolve()
    lock, holder = (whole.with_name(f".{whole.name}{end}") for end in (_LOCK, _HOLDER))
    with _held(lock, holder, 0, f"{path}: in use by", option):
        yield


@contextmanager
def _held(path: Path, holder: Path, wait: float, said: str, option: str) -> Iterator[None]:
    """Hold the lock ``path``; ``holder`` says who does, and the error begins with ``said``."""
    lock = FileLock(path, is_singleton=True)
    if lock.is_locked:
        yield
        return
    folder = path.parent
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        while not lock.is_locked:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # who held it has just removed it, empty
                lock.acquire(timeout=wait)
    except Timeout:
        raise KetformerError(
            f"{said} {_holder(holder)}; wait for it or choose another {option}"
        ) from None
    try:
        with suppress(OSError):  # a full disk; whatever is written next says so
            write_json(holder, _myself())
        yield
    finally:
        for file in (holder, path):  # while it is held: who opened it meanwhile tries again
            file.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # not empty, or another process has just begun there
            for parent in made:
                parent.rmdir()


def alone_in_out(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function to hold its folder ``out`` while it runs, see :func:`in_use`."""
    signature = inspect.signature(function)

    @wraps(function)
    def alone(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        with in_use(Path(bound.arguments["out"])):
            return function(*args, **kwargs)

    return alone


def contents(folder: Path) -> list[Path]:
    """What lies in a folder besides its lock; nothing if it does not exist."""
    if not folder.exists():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith((_LOCK, f".{_HOLDER}"))]


def _myself() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"process": os.getpid(), "host": socket.gethostname(), "user": user, "since": since}


def _holder(path: Path) -> str:
    """Who holds a lock: ``process 1234 of ann on host gpu7 since 12:03``."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(found["since"]).astimezone()
        day = "" if since.date() == datetime.now().date() else f"{since:%Y-%m-%d} "
        return (
            f"process {found['process']} of {found['user']} on host {found['host']} "
            f"since {day}{since:%H:%M}"
        )
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return "another process"
