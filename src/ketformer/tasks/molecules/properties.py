"""What a molecule is like: nine descriptors, computed by RDKit, in parallel and remembered.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import cache_folder

if TYPE_CHECKING:
    from rdkit.Chem import Mol

Item = TypeVar("Item")
Result = TypeVar("Result")

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

CHUNK = 2_000  # about two seconds of work
# RDKit recurses along chains, and those of 20,000 atoms end the process; the reader of
# molecule files has the same limit.
_LONGEST = 2_000
_CACHE_FORMAT = 1  # to be raised whenever a property is defined anew


def parse(smiles: str) -> Mol | None:
    """The sanitised molecule, or None if the text is none.

    RDKit reads ``""`` as a molecule without atoms, and drops without a word whatever
    follows a blank or a character beyond ASCII; here none of these is a molecule, nor is
    a SMILES of more than 2,000 characters, which could end the process.
    """
    from rdkit.Chem import MolFromSmiles

    if not 0 < len(smiles) <= _LONGEST or not smiles.isascii():
        return None
    if not smiles.isprintable() or " " in smiles:
        return None
    return MolFromSmiles(smiles)


def compute_properties(
    smiles: Sequence[str],
    names: Sequence[str] = tuple(PROPERTIES),
    *,
    processes: int | None = None,
    progress: bool = True,
) -> NDArray[np.float64]:
    """Properties of each molecule, as RDKit defines them.

    MW is ``Descriptors.MolWt``, LogP ``Crippen.MolLogP`` (Wildman and Crippen 1999), TPSA
    ``CalcTPSA`` (Ertl et al. 2000, N and O alone); HBA, HBD, nRot, nRing, nHet and
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
        KetformerError: an unknown name.
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
    """:func:`compute_properties`, kept in the cache folder for lists of 2,000 and more.

    The file is named after a hash of the molecules, the names and RDKit's version, so
    a stale one is never read. A broken file is made anew; a folder that cannot be
    written means no more than that nothing is kept.
    """
    if len(smiles) < CHUNK:
        return compute_properties(smiles, names, progress=progress)
    path = cache_folder() / "molecules" / f"{_cache_key(smiles, names)}.npy"
    values = _load(path, shape=(len(smiles), len(names)))
    if values is None:
        values = compute_properties(smiles, names, progress=progress)
        _store(path, values)
    return values


def map_chunks(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    processes: int | None = None,
    progress: bool = True,
    label: str = "molecules",
) -> list[Result]:
    """What ``function`` makes of each run of 2,000 items, in their order.

    Args:
        function: must be picklable, and must use neither torch nor threads.
        items: a single chunk is worked on in this process, without a bar.
        processes: at most that many; by default as many as there are processor cores.
        progress: whether a bar is drawn on stderr.
        label: of the bar.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    results = []
    silent = not progress or len(chunks) < 2
    with (
        _mapper(min(processes or _cores(), len(chunks))) as mapper,
        tqdm(desc=label, total=len(items), unit=" molecules", disable=silent) as bar,
    ):
        for chunk, result in zip(chunks, mapper(function, chunks), strict=True):
            results.append(result)
            bar.update(len(chunk))
    return results


@contextmanager
def _mapper(processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """The built-in ``map``, or one over worker processes.

    The workers are forked where that is sound: each new interpreter would import torch
    with this package (4 s) and the user's script, which must then be guarded by
    ``if __name__ == "__main__"``. A fork copies no threads, and is trouble for code that
    waits for them; the workers run RDKit on one thread, and touch neither torch nor CUDA.
    """
    if processes < 2:
        yield map
        return
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the workers too; the parent answers it, by sending them no more work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cores() -> int:
    """Those this process may use, where the system tells."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _chunk_properties(smiles: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    from rdkit.rdBase import BlockLogs

    available = _calculators()
    calculators = [available[name] for name in names]
    values = np.full((len(smiles), len(names)), np.nan)
    with BlockLogs():
        for row, text in enumerate(smiles):
            if (molecule := parse(text)) is not None:
                values[row] = [calculate(molecule) for calculate in calculators]
    return values


def _calculators() -> dict[str, Callable[[Mol], float]]:
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
    """Into a temporary file beside the target, then moved into place."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".npy")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as out:
            np.save(out, values, allow_pickle=False)
        temporary.replace(path)
    except OSError:
        pass  # the cache saves time and no more than that
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
