"""Bemis-Murcko scaffolds: the rings of a molecule and what links them (Bemis and Murcko 1996)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ketformer.tasks.molecules.cached import cached_texts
from ketformer.tasks.molecules.chemistry import parse

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
    return cached_texts("scaffolds 1", _chunk, smiles, progress=progress, label="scaffolds")


def _chunk(smiles: Sequence[str]) -> list[str]:
    molecules = map(parse, smiles)
    return [scaffold_of(molecule) or "" if molecule else "" for molecule in molecules]
