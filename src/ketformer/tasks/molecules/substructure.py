"""Scaffolds and fragments that a user wants in a molecule, with or without attachment points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import read_smiles, remove_atom_maps
from ketformer.tasks.molecules.fragments import cells_of, piece_text

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_MATCHES = 1000  # ways to find a fragment in a molecule that are looked at


class Step(NamedTuple):
    """A token of a part that is to be written.

    Attributes:
        token: as text; None is the next number of a cut, where something is to be attached.
        spare: how many more numbers may follow it.
    """

    token: str | None
    spare: int


@dataclass(frozen=True)
class Part:
    """A connected part of a molecule.

    Attributes:
        smiles: as the user wrote it.
        molecule: sanitised, its attachment points atoms of number 0 with isotopes from 1.
        points: how many attachment points it has; if there are none, any hydrogen can be replaced.
    """

    smiles: str
    molecule: Mol
    points: int

    @property
    def query(self) -> Mol:
        """What a molecule with this part matches.

        Attachment points match any atom that is not hydrogen; if there are any, other atoms have
        no further neighbours.
        """
        from rdkit.Chem import (
            AdjustQueryParameters,
            AdjustQueryProperties,
            AdjustQueryWhichFlags,
            Mol,
        )

        options: Any = AdjustQueryParameters.NoAdjustments()
        options.makeDummiesQueries = True
        options.adjustDegree = self.points > 0
        options.adjustDegreeFlags = AdjustQueryWhichFlags.ADJUST_IGNOREDUMMIES
        plain = Mol(self.molecule)
        for atom in plain.GetAtoms():
            if not atom.GetAtomicNum():
                atom.SetIsotope(0)
        return AdjustQueryProperties(plain, options)

    def steps(self, draw: np.random.Generator | None) -> list[Step]:
        """How to write it, in a random way or, without a generator, in the canonical one."""
        from rdkit.Chem import MolFromSmiles

        text = piece_text(self.molecule, draw)
        atoms = MolFromSmiles(text).GetAtoms()
        hydrogens = iter([atom.GetTotalNumHs() for atom in atoms if atom.GetAtomicNum()])
        steps = []
        for cell in cells_of(text):
            spare = next(hydrogens) if cell.tokens[0][0].isalpha() else 0
            if cell.tokens[0][0] == "[":  # its hydrogens are part of the token
                next(hydrogens)
            tokens = [*cell.tokens, *(None for _ in cell.cuts)]
            steps += [Step(token, 0) for token in tokens[:-1]]
            steps.append(Step(tokens[-1], 0 if self.points else spare))
        return steps


def read_part(smiles: str, option: str) -> Part:
    """A part that the user asks for.

    Args:
        smiles: with attachment points ``[*:1]`` or ``*`` or without.
        option: what messages call it.

    Raises:
        KetformerError: it is no sound molecule, has several parts, an attachment point that is
            not at the end of a single bond, or nothing can be attached to it.
    """
    molecule = read_smiles(smiles)
    if molecule is None:
        raise KetformerError(f"{option} {smiles!r} is not a SMILES that RDKit can read")
    if "." in smiles:
        raise KetformerError(
            f"{option} {smiles!r} has several parts; name each with a --fragment of its own"
        )
    points = [atom for atom in molecule.GetAtoms() if not atom.GetAtomicNum()]
    if len(points) == molecule.GetNumAtoms():
        raise KetformerError(f"{option} {smiles!r} has no atoms but attachment points")
    for point in points:
        bonds = [bond.GetBondTypeAsDouble() for bond in point.GetBonds()]
        if bonds != [1.0]:
            raise KetformerError(
                f"{option} {smiles!r}: an attachment point must have exactly one bond, a single one"
            )

    remove_atom_maps(molecule)
    for place, point in enumerate(points):
        point.SetIsotope(place + 1)
    part = Part(smiles, molecule, len(points))
    if not points and not any(step.spare for step in part.steps(None)):
        raise KetformerError(
            f"{option} {smiles!r} has no hydrogen that could be replaced; mark where to attach "
            "with [*:1]"
        )
    return part


def contain(canonical: Sequence[str | None], parts: Sequence[Part]) -> list[bool]:
    """Whether each molecule, None if not valid, is in one piece and holds all parts, side by side.

    Attachment points may lie on other parts.
    """
    queries = [part.query for part in parts]
    return [smiles is not None and _holds(smiles, queries) for smiles in canonical]


def _holds(smiles: str, queries: Sequence[Mol]) -> bool:
    molecule = read_smiles(smiles)
    return (
        molecule is not None
        and "." not in smiles
        and any(True for _ in _side_by_side(molecule, queries, frozenset()))
    )


def _side_by_side(
    molecule: Mol, queries: Sequence[Mol], taken: frozenset[int]
) -> Iterator[frozenset[int]]:
    """The ways to find all queries with no atom in two of them."""
    if not queries:
        yield taken
        return
    real = [i for i, atom in enumerate(queries[0].GetAtoms()) if atom.GetAtomicNum()]
    for match in molecule.GetSubstructMatches(
        queries[0], useChirality=True, uniquify=False, maxMatches=_MATCHES
    ):
        own = {match[i] for i in real}
        if not own & taken:
            yield from _side_by_side(molecule, queries[1:], taken | own)
