"""Folders that one process at a time writes to."""

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
    given, folder = folder, folder.resolve()
    lock = FileLock(folder / _LOCK, is_singleton=True)
    if lock.is_locked or os.environ.get("RANK", "0") != "0":
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        while not lock.is_locked:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # who held it has just removed it, empty
                lock.acquire(timeout=wait)
    except Timeout:
        raise KetformerError(
            f"{given}: in use by {_holder(folder)}; wait for it or choose another --out"
        ) from None
    try:
        with suppress(OSError):  # a full disk; whatever is written next says so
            write_json(folder / _HOLDER, _myself())
        yield
    finally:
        for name in (_HOLDER, _LOCK):  # while it is held: who opened it meanwhile tries again
            (folder / name).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # not empty, or another process has just begun there
            for path in made:
                path.rmdir()


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


def _holder(folder: Path) -> str:
    """Who holds a folder: ``process 1234 of ann on host gpu7 since 12:03``."""
    try:
        found = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
        since = datetime.fromisoformat(found["since"]).astimezone()
        day = "" if since.date() == datetime.now().date() else f"{since:%Y-%m-%d} "
        return (
            f"process {found['process']} of {found['user']} on host {found['host']} "
            f"since {day}{since:%H:%M}"
        )
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return "another process"
