"""One line of text for each molecule, computed in parallel once and kept."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ketformer.tasks.molecules.chemistry import CHUNK, map_chunks
from ketformer.utils.files import cache_folder, replacing


def cached_texts(
    kind: str,
    function: Callable[[Sequence[str]], list[str]],
    smiles: Sequence[str],
    *,
    progress: bool = True,
    label: str,
) -> list[str]:
    """What a function makes of molecules; that of 2,000 and more is cached.

    Args:
        kind: what is made, and the version of the code that makes it.
        function: picklable; a line for each of the SMILES that it is given.
        smiles: the molecules.
        progress: show a bar on stderr, for more than 2,000 molecules.
        label: label of the bar.

    Raises:
        KetformerError: a worker process was killed.
    """
    if len(smiles) < CHUNK:
        return function(smiles)
    file = _cache_file(kind, smiles)
    with suppress(OSError, EOFError, zlib.error, UnicodeDecodeError):
        stored = gzip.decompress(file.read_bytes()).decode().split("\n")
        if len(stored) == len(smiles):
            return stored
    found = list(chain.from_iterable(map_chunks(function, smiles, None, progress, label)))
    with suppress(OSError), replacing(file) as part:  # best effort: the cache only saves time
        part.write_bytes(gzip.compress("\n".join(found).encode(), compresslevel=1))
    return found


def _cache_file(kind: str, smiles: Sequence[str]) -> Path:
    """The cache file, named after everything that its content depends on."""
    from rdkit import __version__

    key = hashlib.sha256("\n".join([f"{kind} {__version__}", *smiles]).encode()).hexdigest()
    return cache_folder() / "molecules" / f"{key}.txt.gz"
