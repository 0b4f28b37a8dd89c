"""From the bytes of a file to its text: compression, encodings and byte order marks."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from pathlib import Path

from ketformer.errors import KetformerError
from ketformer.utils.machine import require_memory

# UTF-32 before UTF-16: the longer mark begins with the shorter one.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_BLOCK = 1 << 22


def decompressed(path: Path, raw: bytes) -> bytes:
    """The bytes, unpacked if they are gzip's.

    Raises:
        KetformerError: a broken archive, or one whose content would not fit into memory.
    """
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    parts, size = [], 0
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while part := file.read(_BLOCK):
                parts.append(part)
                size += len(part)
                # The text, its rows and what is made of them need several times the space.
                require_memory(f"{path} unpacks to more than {size >> 20:,} MiB", 8 * size)
    except (OSError, EOFError, zlib.error):
        raise KetformerError(f"{path}: a broken gzip file") from None
    return b"".join(parts)


def decoded(
    path: Path, raw: bytes, encoding: str | None = None, *, otherwise: str | None = None
) -> tuple[str, str]:
    """The text of a file without its byte order mark, and the encoding it is read in.

    Args:
        path: for messages.
        raw: the bytes.
        encoding: the user's choice; by default what a byte order mark says, or UTF-16 if every
            other byte is NUL, or UTF-8.
        otherwise: the encoding of a text that is not UTF-8, if it has no control characters.

    Raises:
        KetformerError: an unknown encoding, or bytes that are not text in it.
    """
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    chosen = encoding or marked or _wide(raw) or "utf-8"
    try:
        return raw.decode(chosen).removeprefix("\ufeff"), chosen
    except UnicodeError as error:
        where = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        hint = "" if encoding or marked else "; --encoding names another, such as cp1252 or gbk"
        refusal = KetformerError(f"{path}: not {chosen.upper()} text{where}{hint}")
    except (LookupError, ValueError):
        raise KetformerError(
            f"unknown encoding {encoding!r}; utf-8, utf-16, cp1252 and gbk are some that are known"
        ) from None
    if otherwise and not encoding and not marked:
        try:
            text = raw.decode(otherwise)
        except UnicodeDecodeError:
            raise refusal from None
        if not _CONTROL.search(text):
            return text, otherwise
    raise refusal


def _wide(raw: bytes) -> str | None:
    """UTF-16 without a mark: NUL in every other byte of mostly Latin text, and nowhere else."""
    head = raw[: 1 << 16]
    zeros = [head[start::2].count(0) for start in (0, 1)]
    half = len(head) // 2
    if len(raw) % 2 or not half or min(zeros) or max(zeros) < 0.6 * half:
        return None
    return "utf-16-le" if zeros[1] else "utf-16-be"
