"""What counts as a molecule, and how work on many of them is spread over processes.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 2_000  # about two seconds of work
_LONGEST = 2_000  # RDKit recurses along chains, and those of 20,000 atoms end the process


def parse(smiles: str, *, keep_hydrogens: bool = False) -> Mol | None:
    """The sanitised molecule, or None if the text is none; RDKit's messages are held back.

    RDKit reads ``""`` as a molecule without atoms, and drops without a word whatever
    follows a blank or a character beyond ASCII; here none of these is a molecule, nor is
    a SMILES of more than 2,000 characters, which could end the process.

    Args:
        smiles: any text.
        keep_hydrogens: leave those written as atoms, as in ``[H]C``, in the graph.
    """
    from rdkit.Chem import MolFromSmiles, SmilesParserParams
    from rdkit.rdBase import BlockLogs

    if not 0 < len(smiles) <= _LONGEST or not smiles.isascii():
        return None
    if not smiles.isprintable() or " " in smiles:
        return None
    options: Any = SmilesParserParams()
    options.removeHs = not keep_hydrogens
    with BlockLogs():
        try:
            molecule = MolFromSmiles(smiles, options)
        except RuntimeError:  # a broken invariant inside RDKit
            return None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def canonical_smiles(smiles: str) -> str | None:
    """RDKit's canonical SMILES, with stereochemistry; None for what :func:`parse` refuses."""
    from rdkit.Chem import MolToSmiles
    from rdkit.rdBase import BlockLogs

    if (molecule := parse(smiles)) is None:
        return None
    with BlockLogs():
        try:
            return MolToSmiles(molecule)
        except RuntimeError:  # a broken invariant inside RDKit
            return None


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

    Raises:
        KetformerError: a worker process was killed.
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
    import rdkit.Chem  # noqa: F401  # before the fork: once, not once in each worker

    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupt)
    try:
        yield pool.map
    except BrokenProcessPool:
        raise KetformerError(
            "a worker process was killed, perhaps because memory ran out; free some and try again"
        ) from None
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
