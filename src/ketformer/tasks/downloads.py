"""Downloads over TLS with a known hash and a limited size, resumed after an interruption."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from ketformer.errors import KetformerError
from ketformer.utils.files import hash_of

_SCHEME = "https://"
_LARGEST = 1 << 29  # bytes; each of our sets is far smaller
_CHUNK = 1 << 16
_TIMEOUT = 30  # seconds without an answer


def download(url: str, target: Path, sha256: str, label: str) -> Path:
    """Fetch a file to ``.NAME.part`` beside the target and check its hash.

    A partial file from a failed attempt is resumed if the server supports it.

    Args:
        url: an ``https`` address.
        target: where the caller will move the file.
        sha256: the expected hash of the file at the address.
        label: for the progress bar and the messages.

    Returns:
        The path of the part, complete and checked.

    Raises:
        KetformerError: another hash, too many bytes, or an address without TLS: nothing is kept.
            Or the connection failed: the partial file is kept for the next attempt.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if not (part.is_file() and hash_of(part) == sha256):
            _fetch(url, part, label)
        if (found := hash_of(part)) != sha256:
            raise _UnwantedError(f"its SHA-256 is {found[:12]}…, not {sha256[:12]}…")
    except _UnwantedError as error:
        part.unlink(missing_ok=True)
        raise KetformerError(f"{url} is not {label}: {error}") from None
    except (OSError, HTTPException) as error:
        left = part.stat().st_size if part.is_file() else 0
        kept = f"; {left:,} bytes are kept for the next attempt" if left else ""
        hint = f"put {target.name} into a folder and set KETFORMER_DATA to it"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise KetformerError(f"cannot download {label} ({reason}); {hint}{kept}") from None
    return part


class _UnwantedError(Exception):
    """The server offers something other than what was requested."""


def _fetch(url: str, part: Path, label: str) -> None:
    have = part.stat().st_size if part.is_file() else 0
    with _open(url, have) as response:
        if not response.url.startswith(_SCHEME):
            raise _UnwantedError("it is sent without TLS")
        if have and not _goes_on(response, have):
            have = 0
        length = int(response.headers.get("Content-Length") or 0)
        if have + length > _LARGEST:
            raise _UnwantedError(f"{have + length:,} bytes are offered, {_LARGEST:,} allowed")
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, transient=True) as bar, part.open("ab" if have else "wb") as out:
            task = bar.add_task(label, total=have + length if length else None, completed=have)
            received = 0
            while chunk := response.read(_CHUNK):
                received += len(chunk)
                if have + received > _LARGEST:
                    raise _UnwantedError(f"more than {_LARGEST:,} bytes are sent")
                out.write(chunk)
                bar.advance(task, len(chunk))
    if received < length:
        raise ConnectionError(f"the connection ended after {received:,} of {length:,} bytes")


def _open(url: str, have: int) -> Any:
    if not url.startswith(_SCHEME):
        raise _UnwantedError("it is offered without TLS")
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if have and error.code == 416:  # so our part is not the beginning of the file
            return _open(url, 0)
        raise


def _goes_on(response: Any, have: int) -> bool:
    """Whether the response starts where we stopped; many servers send the whole file again."""
    begins = str(response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
    return response.status == 206 and begins
