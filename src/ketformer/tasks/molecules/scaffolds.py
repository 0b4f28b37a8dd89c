"""Bemis-Murcko scaffolds: the rings of a molecule and what links them (Bemis and Murcko 1996)."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ketformer.tasks.molecules.chemistry import CHUNK, map_chunks, parse
from ketformer.utils.files import cache_folder, replacing

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def scaffold_of(molecule: Mol, min_rings: int = 0) -> str | None:
    """The canonical SMILES of a molecule's scaffold, empty if it has no ring.

    Args:
        molecule: sanitised.
        min_rings: None is returned for a scaffold with fewer rings, or that RDKit cannot find.
    """
    from rdkit.Chem import MolToSmiles
    from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

    try:
        scaffold = GetScaffoldForMol(molecule)  # type: ignore[no-untyped-call]
        if scaffold.GetRingInfo().NumRings() < min_rings:
            return None
        return str(MolToSmiles(scaffold))
    except (ValueError, RuntimeError):  # a broken invariant inside RDKit
        return None


def scaffolds(smiles: Sequence[str], *, progress: bool = True) -> list[str]:
    """The scaffold of each molecule as canonical SMILES, in parallel; empty without a ring.

    Those of 2,000 molecules and more are cached.

    Args:
        smiles: what :func:`~.chemistry.parse` accepts.
        progress: show a bar on stderr, for more than 2,000 molecules.

    Raises:
        KetformerError: a worker process was killed.
    """
    if len(smiles) < CHUNK:
        return _chunk(smiles)
    file = _cache_file(smiles)
    with suppress(OSError, EOFError, zlib.error, UnicodeDecodeError):
        stored = gzip.decompress(file.read_bytes()).decode().split("\n")
        if len(stored) == len(smiles):
            return stored
    found = list(chain.from_iterable(map_chunks(_chunk, smiles, None, progress, "scaffolds")))
    with suppress(OSError), replacing(file) as part:  # best effort: the cache only saves time
        part.write_bytes(gzip.compress("\n".join(found).encode(), compresslevel=1))
    return found


def _chunk(smiles: Sequence[str]) -> list[str]:
    molecules = map(parse, smiles)
    return [scaffold_of(molecule) or "" if molecule else "" for molecule in molecules]


def _cache_file(smiles: Sequence[str]) -> Path:
    """The cache file, named after everything that its content depends on."""
    from rdkit import __version__

    head = f"scaffolds 1 {__version__}"
    key = hashlib.sha256("\n".join([head, *smiles]).encode()).hexdigest()
    return cache_folder() / "molecules" / f"{key}.txt.gz"
