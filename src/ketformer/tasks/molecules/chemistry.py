"""What counts as a molecule, and how work on many of them is spread over processes.

RDKit is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from ketformer.errors import KetformerError
from ketformer.utils.machine import available_cores

if TYPE_CHECKING:
    import numpy as np
    from rdkit.Chem import Mol

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 2_000  # about two seconds of work
_shared: ContextVar[Callable[[int], ProcessPoolExecutor] | None] = ContextVar(
    "_shared", default=None
)
_LONGEST = 2_000  # RDKit recurses along chains, and one of 20,000 atoms crashes the process
_WRITINGS = 5  # one or two are the rule


def parse(smiles: str, *, keep_hydrogens: bool = False) -> Mol | None:
    """The molecule if the text is that of a sound one, else None; RDKit's messages are suppressed.

    This is the one definition of a sound molecule: RDKit parses and sanitises it, writes it as
    SMILES, and reads what it wrote. RDKit reads ``""`` as a molecule without atoms, and silently
    drops whatever follows a blank or a non-ASCII character; here none of these is a molecule,
    nor is a SMILES of more than 2,000 characters, which could crash the process. Atom maps, the
    numbers in ``[CH3:1]``, belong to a reaction and are removed.

    Args:
        smiles: any text.
        keep_hydrogens: keep hydrogens that are written as atoms, as in ``[H]C``, in the graph.
    """
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        if (molecule := read_smiles(smiles, keep_hydrogens=keep_hydrogens)) is None:
            return None
        remove_atom_maps(molecule)
        return molecule if write_smiles(molecule, smiles) else None


def canonical_smiles(smiles: str) -> str | None:
    """RDKit's canonical SMILES, with stereochemistry; None for what :func:`parse` refuses."""
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        if (molecule := read_smiles(smiles)) is None:
            return None
        remove_atom_maps(molecule)
        return write_smiles(molecule, smiles)


def read_smiles(smiles: str, *, keep_hydrogens: bool = False) -> Mol | None:
    """The sanitised molecule with its atom maps; None if RDKit cannot read it, or only a part."""
    from rdkit.Chem import MolFromSmiles, SmilesParserParams

    if not 0 < len(smiles) <= _LONGEST or not smiles.isascii():
        return None
    if not smiles.isprintable() or " " in smiles:
        return None
    options: Any = SmilesParserParams()
    options.removeHs = not keep_hydrogens
    try:
        molecule = MolFromSmiles(smiles, options)
    except RuntimeError:  # a broken invariant inside RDKit
        return None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def write_smiles(molecule: Mol, source: str | None = None) -> str | None:
    """The canonical SMILES, which RDKit reads and writes again alike; None if there is none.

    RDKit cannot read all that it writes, such as some rings with aromatic boron. Some it writes
    differently once it has read it: a removed mark may have been all that told two branches
    apart, and so made an atom a stereocentre.

    Args:
        molecule: sanitised.
        source: the SMILES that it was read from, if it is unchanged since.
    """
    from rdkit.Chem import MolToSmiles

    for _ in range(_WRITINGS):
        try:
            smiles = MolToSmiles(molecule)
        except RuntimeError:  # a broken invariant inside RDKit
            return None
        if smiles == source:
            return smiles
        if (again := read_smiles(smiles)) is None:
            return None
        molecule, source = again, smiles
    return None


def random_smiles(molecule: Mol, draw: np.random.Generator) -> str:
    """A SMILES that begins and branches anywhere; it need not be readable again."""
    from rdkit.Chem import MolToRandomSmilesVect

    seed = int(draw.integers(1, 2**31 - 1))  # 0 would be none
    return str(MolToRandomSmilesVect(molecule, 1, seed)[0])


def remove_atom_maps(molecule: Mol) -> bool:
    """Remove the atom maps in place, and stereocentres that only they made; were there any?"""
    from rdkit.Chem import AssignStereochemistry

    mapped = [atom for atom in molecule.GetAtoms() if atom.GetAtomMapNum()]
    for atom in mapped:
        atom.SetAtomMapNum(0)
    if mapped:
        # As RDKit's parser does.
        AssignStereochemistry(molecule, cleanIt=True, force=True, flagPossibleStereoCenters=True)
    return bool(mapped)


def map_chunks(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    processes: int | None = None,
    progress: bool = True,
    label: str = "molecules",
) -> list[Result]:
    """Apply ``function`` to chunks of at most 2,000 items; return the results in order.

    Args:
        function: must be picklable, and must use neither torch nor threads.
        items: up to 2,000 are processed in this process, without a bar.
        processes: at most that many; by default as many as there are processor cores.
        progress: whether a bar is drawn on stderr.
        label: label of the bar.

    Raises:
        KetformerError: a worker process was killed.
    """
    workers = min(processes or available_cores(), math.ceil(len(items) / CHUNK))
    size = min(CHUNK, math.ceil(len(items) / max(workers, 1)) or 1)  # no worker stays idle
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    results = []
    silent = not progress or len(chunks) < 2
    with (
        _mapper(workers) as mapper,
        tqdm(desc=label, total=len(items), unit=" molecules", disable=silent) as bar,
    ):
        for chunk, result in zip(chunks, mapper(function, chunks), strict=True):
            results.append(result)
            bar.update(len(chunk))
    return results


@contextmanager
def worker_processes() -> Iterator[None]:
    """Let all calls of :func:`map_chunks` in the block share the workers that the first starts."""
    with ExitStack() as pools:
        token = _shared.set(cache(lambda processes: pools.enter_context(_pool(processes))))
        try:
            yield
        finally:
            _shared.reset(token)


@contextmanager
def _mapper(processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """The built-in ``map``, or one over worker processes."""
    if processes < 2:
        yield map
        return
    shared = _shared.get()
    try:
        with nullcontext(shared(processes)) if shared else _pool(processes) as pool:
            yield pool.map
    except BrokenProcessPool:
        raise KetformerError(
            "a worker process was killed, perhaps because memory ran out; free some and try again"
        ) from None


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of worker processes.

    They are forked where that is safe: a new interpreter takes half a second, and runs the
    user's script again unless it is guarded by ``if __name__ == "__main__"``. A fork copies no
    threads, which breaks code that waits for them; but the workers run RDKit on one thread, and
    touch neither torch nor CUDA.
    """
    import rdkit.Chem  # noqa: F401  # before the fork: once, not once in each worker

    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """Make a worker end with its parent, and only then.

    Ctrl-C reaches the workers too, but the parent handles it by sending them no more work. A
    parent that is killed tells them nothing, and they would wait for work forever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)
