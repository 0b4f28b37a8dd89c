"""Molecules as fragments joined by numbers: SMILES that begin with a scaffold or with fragments.

After SAFE (Noutahi et al. 2024, arXiv 2310.10773): bonds are cut, each piece is written as a SMILES
of its own, and a cut is a ring closure between two pieces: ``c1cc%10ncc1.C%10`` is one molecule,
and any reader of SMILES knows which. A beginning such as ``c1cc%10ncc1.`` is a scaffold with an
open bond, which a language model decorates by writing on.

Here the numbers of cuts begin at 10, in the order in which they appear, while the rings of a
piece have one digit; and the number stands right after its atom and the atom's ring digits. Cut
are single bonds outside rings: those between a Bemis-Murcko scaffold and its decorations, and
those of ring atoms. Bonds next to a double bond with a configuration stay, as it is written with
their help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ketformer.tasks.molecules.chemistry import random_smiles, read_smiles, write_smiles
from ketformer.tasks.molecules.tokens import split_smiles

if TYPE_CHECKING:
    from rdkit.Chem import Atom, Bond, Mol

#: The numbers of cuts, in their order.
NUMBERS = tuple(f"%{number}" for number in range(10, 100))
_BONDS = frozenset("-=#$:/\\~")


@dataclass
class Cell:
    """A token of a piece with what has to follow it directly.

    Attributes:
        tokens: an atom and its ring digits; or a bond, a parenthesis.
        cuts: the cuts at this atom, by their labels, in the order of their numbers.
    """

    tokens: list[str]
    cuts: list[int] = field(default_factory=list)


def write_fragments(smiles: str) -> str:
    """The molecule, its Bemis-Murcko scaffold first; always the same text.

    Args:
        smiles: canonical. It is returned as it is if there is nothing to cut.
    """
    molecule = read_smiles(smiles)
    if molecule is None:
        return smiles
    return _joined(molecule, _decorating(molecule), None) or smiles


def draw_fragments(smiles: str, draw: np.random.Generator) -> str:
    """The molecule with its pieces in a random order and notation.

    Half of the texts begin with the Bemis-Murcko scaffold; in the others each bond that can be
    cut is cut or not, and the pieces follow each other in any order, so that every connected
    part of the molecule comes first in some, and every two parts in others.
    """
    molecule = read_smiles(smiles)
    if molecule is None:
        return smiles
    if draw.random() < 0.5:
        bonds, shuffled = _decorating(molecule), False
    else:
        bonds, shuffled = [b for b in _cuttable(molecule) if draw.random() < 0.5], True
    return _joined(molecule, bonds, draw, shuffled=shuffled) or random_smiles(molecule, draw)


def piece_text(molecule: Mol, draw: np.random.Generator | None) -> str:
    """The SMILES of one piece, canonical or random; for :func:`cells_of`.

    Args:
        molecule: connected; it need not be sanitised. Atoms of number 0 with an isotope are cuts.
        draw: for a random text; by default the canonical one.
    """
    from rdkit.Chem import MolToSmiles

    return str(MolToSmiles(molecule)) if draw is None else random_smiles(molecule, draw)


def numbered(pieces: Sequence[Sequence[Cell]]) -> str | None:
    """The text of all pieces; None if there are more cuts than numbers."""
    number_of: dict[int, str] = {}
    texts = []
    for piece in pieces:
        tokens = []
        for cell in piece:
            tokens += cell.tokens
            for cut in cell.cuts:
                if cut not in number_of:
                    if len(number_of) == len(NUMBERS):
                        return None
                    number_of[cut] = NUMBERS[len(number_of)]
                tokens.append(number_of[cut])
        texts.append("".join(tokens))
    return ".".join(texts)


def _joined(
    molecule: Mol,
    bonds: Sequence[int],
    draw: np.random.Generator | None,
    *,
    shuffled: bool = False,
) -> str | None:
    """The molecule cut at these bonds, as a text; None if that cannot be written."""
    from rdkit.Chem import FragmentOnBonds, GetMolFrags

    if not bonds:
        return None
    labels = [(label, label) for label in range(1, len(bonds) + 1)]
    parts = GetMolFrags(
        FragmentOnBonds(molecule, list(bonds), dummyLabels=labels),
        asMols=True,
        sanitizeFrags=False,
    )
    cells = [cells_of(piece_text(part, draw)) for part in parts]
    if any(token in NUMBERS for piece in cells for cell in piece for token in cell.tokens):
        return None  # ten rings are open at once: their numbers would be those of cuts
    if shuffled and draw is not None:
        order = [int(i) for i in draw.permutation(len(cells))]
    else:
        core = max(range(len(parts)), key=lambda i: _size(parts[i]))
        order = _outwards(cells, core)
    text = numbered([cells[i] for i in order])
    if text is None or not _has_marks(molecule):
        return text
    # What tells a stereocentre's neighbours apart may have been cut off.
    again = read_smiles(text)
    return text if again is not None and write_smiles(again) == write_smiles(molecule) else None


def _outwards(cells: Sequence[Sequence[Cell]], first: int) -> list[int]:
    """The pieces in the order in which their cuts appear, from the first one on."""
    at: dict[int, list[int]] = {}
    for i, piece in enumerate(cells):
        for cell in piece:
            for cut in cell.cuts:
                at.setdefault(cut, []).append(i)
    order = [first]
    for i in order:  # grows on the way
        for cell in cells[i]:
            for cut in cell.cuts:
                order += [piece for piece in at[cut] if piece not in order]
    return order + [i for i in range(len(cells)) if i not in order]  # other molecules: salts


def _size(part: Mol) -> tuple[int, int]:
    """What makes a part the scaffold: rings, then atoms."""
    from rdkit.Chem import FastFindRings

    FastFindRings(part)
    return part.GetRingInfo().NumRings(), part.GetNumAtoms()


def _has_marks(molecule: Mol) -> bool:
    from rdkit.Chem import ChiralType

    return any(a.GetChiralTag() != ChiralType.CHI_UNSPECIFIED for a in molecule.GetAtoms())


# --- Which bonds are cut -------------------------------------------------------------------------


def _decorating(molecule: Mol) -> list[int]:
    """The bonds between the Bemis-Murcko scaffold and what decorates it."""
    scaffold = _scaffold_atoms(molecule)
    return [
        bond.GetIdx()
        for bond in molecule.GetBonds()
        if (bond.GetBeginAtomIdx() in scaffold) != (bond.GetEndAtomIdx() in scaffold)
        and _may_be_cut(bond)
    ]


def _cuttable(molecule: Mol) -> list[int]:
    """All bonds that are ever cut."""
    decorating = set(_decorating(molecule))
    return [
        bond.GetIdx()
        for bond in molecule.GetBonds()
        if bond.GetIdx() in decorating
        or ((bond.GetBeginAtom().IsInRing() or bond.GetEndAtom().IsInRing()) and _may_be_cut(bond))
    ]


def _scaffold_atoms(molecule: Mol) -> set[int]:
    """Rings, what links them, and atoms bound to these by a double bond."""
    kept = {atom.GetIdx(): atom for atom in molecule.GetAtoms()}
    ends = list(kept.values())
    while ends:
        ends = [
            atom
            for atom in kept.values()
            if not atom.IsInRing() and sum(n.GetIdx() in kept for n in atom.GetNeighbors()) < 2
        ]
        for atom in ends:
            del kept[atom.GetIdx()]
    double = (b for b in molecule.GetBonds() if b.GetBondTypeAsDouble() >= 2)
    for bond in list(double):
        pair = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        if pair & kept.keys() and not pair <= kept.keys():
            kept |= {i: molecule.GetAtomWithIdx(i) for i in pair}
    return set(kept)


def _may_be_cut(bond: Bond) -> bool:
    from rdkit.Chem import BondType

    atoms = bond.GetBeginAtom(), bond.GetEndAtom()
    return (
        bond.GetBondType() == BondType.SINGLE
        and not bond.IsInRing()
        and all(atom.GetAtomicNum() > 1 and not _configured(atom) for atom in atoms)
    )


def _configured(atom: Atom) -> bool:
    """Whether the atom has a double bond with a configuration."""
    from rdkit.Chem import BondStereo

    loose = (BondStereo.STEREONONE, BondStereo.STEREOANY)
    return any(bond.GetStereo() not in loose for bond in atom.GetBonds())


# --- From a text with dummy atoms to one with numbers --------------------------------------------


def cells_of(text: str) -> list[Cell]:
    """The tokens of a piece, with dummy atoms ``[1*]`` taken out and noted at their neighbour.

    A number is written before the branches that came before the dummy atom. Each of these that it
    passes exchanges two neighbours of the atom, which a stereocentre's mark has to follow.
    """
    cells: list[Cell] = []
    passed: dict[int, int] = {}  # exchanges, by the atom's cell
    branches: dict[int, int] = {}  # neighbours written after an atom so far
    atom: int | None = None  # the cell of the atom that the next one is bound to
    stack: list[int] = []
    leading: int | None = None  # a cut that came before the first atom
    for token in split_smiles(text):
        label = _label_of(token)
        if label is not None and atom is None:
            leading = label
        elif label is not None and atom is not None:
            cells[atom].cuts.append(label)
            passed[atom] += branches[atom]
        elif token == "(":
            assert atom is not None
            stack.append(atom)
            cells.append(Cell([token]))
        elif token == ")":
            atom = stack.pop()
            if cells[-1].tokens == ["("]:  # it held a cut alone
                cells.pop()
            else:
                cells.append(Cell([token]))
        elif token in _BONDS:
            cells.append(Cell([token]))
        elif token[0] == "%" or token.isdigit():
            assert atom is not None
            while cells[-1].tokens[0] in _BONDS:  # the bond of the ring closure
                cells[atom].tokens.append(cells.pop().tokens[0])
            cells[atom].tokens.append(token)
        else:
            if atom is not None:
                branches[atom] += 1
            cells.append(Cell([token]))
            atom = len(cells) - 1
            passed[atom] = branches[atom] = 0
            if atom == 0 and leading is not None:
                cells[atom].cuts.append(leading)
    if leading is not None:
        first = cells[0]
        rings = sum(token not in _BONDS for token in first.tokens[1:])
        passed[0] += rings + ("H" in first.tokens[0].strip("[]")[1:])
    for place, count in passed.items():
        if count % 2:
            cells[place].tokens[0] = _mirrored(cells[place].tokens[0])
    return _unwrapped(cells)


def _label_of(token: str) -> int | None:
    """The label of a dummy atom such as ``[12*]``, or None."""
    if not token.startswith("[") or not token.endswith("*]"):
        return None
    return int(token[1:-2]) if token[1:-2].isdigit() else None


def _mirrored(token: str) -> str:
    """An atom with the other configuration; as it is if it has none."""
    if "@@" in token:
        return token.replace("@@", "@")
    return token.replace("@", "@@")


def _unwrapped(cells: Sequence[Cell]) -> list[Cell]:
    """Without the parentheses of branches that nothing follows."""
    opened: list[int] = []
    dropped: set[int] = set()
    for i, cell in enumerate(cells):
        if cell.tokens == ["("]:
            opened.append(i)
        elif cell.tokens == [")"]:
            begin = opened.pop()
            if i + 1 == len(cells) or cells[i + 1].tokens == [")"]:
                dropped |= {begin, i}
    return [cell for i, cell in enumerate(cells) if i not in dropped]
