"""Properties of molecules: nine descriptors, computed by RDKit in parallel, and cached.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import CHUNK, map_chunks, parse
from ketformer.utils.files import cache_folder, replacing

if TYPE_CHECKING:
    from rdkit.Chem import Mol

PROPERTIES: dict[str, str] = {
    "MW": "molecular weight, g/mol",
    "HBA": "hydrogen bond acceptors, number",
    "HBD": "hydrogen bond donors, number",
    "nRot": "rotatable bonds, number",
    "nRing": "rings (smallest set of smallest rings), number",
    "nHet": "heteroatoms, neither carbon nor hydrogen, number",
    "TPSA": "topological polar surface area, Å²",
    "LogP": "octanol-water partition coefficient after Crippen, decadic logarithm",
    "StereoCenters": "atom stereocentres, assigned or not, number",
}

_CACHE_FORMAT = 1  # raise it whenever the definition of a property changes


def compute_properties(
    smiles: Sequence[str],
    names: Sequence[str] = tuple(PROPERTIES),
    *,
    processes: int | None = None,
    progress: bool = True,
) -> NDArray[np.float64]:
    """Properties of each molecule, as RDKit defines them.

    MW is ``Descriptors.MolWt``, LogP ``Crippen.MolLogP`` (Wildman and Crippen 1999), TPSA
    ``CalcTPSA`` (Ertl et al. 2000, N and O only); HBA, HBD, nRot, nRing, nHet and
    StereoCenters are the counts of ``rdMolDescriptors``. Stereocentres are those of RDKit's
    legacy perception, which its SMILES parser runs by default: the same number as
    ``len(FindMolChiralCenters(molecule, includeUnassigned=True))``. The newer perception
    also counts centres that depend on others, in 9 of 100 molecules of QM9.

    Args:
        smiles: one molecule each.
        names: keys of :data:`PROPERTIES`, in the order of the columns.
        processes: at most that many; by default as many as there are processor cores.
            Up to 2,000 molecules are always computed in this process.
        progress: whether a bar is drawn on stderr, for more than 2,000 molecules.

    Returns:
        ``[N, P]``; a row of NaN where RDKit refuses the SMILES.

    Raises:
        KetformerError: an unknown name, or a worker process was killed.
    """
    if unknown := [name for name in names if name not in PROPERTIES]:
        raise KetformerError(f"no property {unknown[0]!r}; known: {', '.join(PROPERTIES)}")
    rows = map_chunks(
        partial(_chunk_properties, names=tuple(names)), smiles, processes, progress, "properties"
    )
    return np.concatenate([np.empty((0, len(names))), *rows])


def cached_properties(
    smiles: Sequence[str], names: Sequence[str] = tuple(PROPERTIES), progress: bool = True
) -> NDArray[np.float64]:
    """:func:`compute_properties`, with results cached for lists of 2,000 and more.

    The file is named after a hash of the molecules, the names and RDKit's version, so
    a stale one is never read. A broken file is written again; if the folder cannot be
    written, nothing is cached.
    """
    if len(smiles) < CHUNK:
        return compute_properties(smiles, names, progress=progress)
    path = cache_folder() / "molecules" / f"{_cache_key(smiles, names)}.npy"
    values = _load(path, shape=(len(smiles), len(names)))
    if values is None:
        values = compute_properties(smiles, names, progress=progress)
        _store(path, values)
    return values


def _chunk_properties(smiles: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    available = calculators()
    functions = [available[name] for name in names]
    values = np.full((len(smiles), len(names)), np.nan)
    for row, text in enumerate(smiles):
        if (molecule := parse(text)) is not None:
            values[row] = [calculate(molecule) for calculate in functions]
    return values


def calculators() -> dict[str, Callable[[Mol], float]]:
    """What computes each of :data:`PROPERTIES` from a sanitised molecule."""
    from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

    return {
        "MW": Descriptors.MolWt,  # type: ignore[attr-defined]
        "HBA": rdMolDescriptors.CalcNumHBA,
        "HBD": rdMolDescriptors.CalcNumHBD,
        "nRot": rdMolDescriptors.CalcNumRotatableBonds,
        "nRing": rdMolDescriptors.CalcNumRings,
        "nHet": rdMolDescriptors.CalcNumHeteroatoms,
        "TPSA": rdMolDescriptors.CalcTPSA,
        "LogP": Crippen.MolLogP,  # type: ignore[attr-defined]
        "StereoCenters": rdMolDescriptors.CalcNumAtomStereoCenters,
    }


def _cache_key(smiles: Sequence[str], names: Sequence[str]) -> str:
    from rdkit import __version__

    head = json.dumps([_CACHE_FORMAT, __version__, *names])
    return hashlib.sha256("\n".join([head, *smiles]).encode()).hexdigest()


def _load(path: Path, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if values.shape != shape or values.dtype != np.float64:
        return None
    return values  # type: ignore[no-any-return]


def _store(path: Path, values: NDArray[np.float64]) -> None:
    """Best effort: the cache only saves time."""
    with suppress(OSError), replacing(path) as part, part.open("wb") as out:
        np.save(out, values, allow_pickle=False)
