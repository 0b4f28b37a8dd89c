"""How many bonds RDKit lets an atom have, as it stands in a SMILES.

Nothing is tabulated here: RDKit is asked, once for each token, so the rules are those by which the
molecules are judged. It is imported where it is used, so that text tasks never pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product

#: Bonds of an aromatic atom: aromatic ones, single ones, double ones.
Bonds = tuple[int, int, int]

_MOST = 8  # bonds of a wildcard or a metal, which RDKit does not limit


@dataclass(frozen=True)
class Valence:
    """What bonds an atom may have.

    Attributes:
        most: the largest sum of bond orders; 0 for an aromatic atom.
        paired: for an aromatic atom, all sets of bonds that it may end with, and whether one of
            the aromatic bonds is double in every Kekulé structure.
    """

    most: int
    paired: tuple[tuple[Bonds, bool], ...] = ()
    _double: dict[Bonds, bool] = field(init=False, compare=False, repr=False)
    _outcomes: dict[tuple[Bonds, int, bool], tuple[bool, bool]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    _partial: frozenset[tuple[int, int, int, int]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        partial = {
            (a, s, d, open_)
            for (most_a, most_s, most_d), _ in self.paired
            for a, s, d in product(range(most_a + 1), range(most_s + 1), range(most_d + 1))
            for open_ in range(most_a + most_s + most_d - a - s - d + 1)
        }
        object.__setattr__(self, "_double", dict(self.paired))
        object.__setattr__(self, "_partial", frozenset(partial))

    @property
    def aromatic(self) -> bool:
        """Whether the atom is aromatic."""
        return bool(self.paired)

    def may_have(self, bonds: Bonds, open_rings: int) -> bool:
        """Whether an aromatic atom with these bonds and unclosed rings can get all it needs."""
        return (*bonds, open_rings) in self._partial

    def needs_double(self, bonds: Bonds) -> bool | None:
        """Whether one of the aromatic bonds must be double; None if no atom ends like that."""
        return self._double.get(bonds)

    def outcomes(self, bonds: Bonds, more: int, exactly: bool) -> tuple[bool, bool]:
        """What an aromatic atom can still become.

        Args:
            bonds: it has these.
            more: it is going to get that many.
            exactly: and no others.

        Returns:
            Whether it can end as it is if one of its aromatic bonds is double, and if none is:
            with a double bond that an aromatic bond yet to come may bring, or without.
        """
        key = bonds, more, exactly
        if (found := self._outcomes.get(key)) is None:
            ends = [
                (double, added[0] > 0)
                for end, double in self.paired
                if min(added := [e - b for e, b in zip(end, bonds, strict=True)]) >= 0
                and (sum(added) == more if exactly else sum(added) >= more)
            ]
            found = any(d for d, _ in ends), any(not d or aromatic for d, aromatic in ends)
            self._outcomes[key] = found
        return found


@cache
def valence_of(token: str) -> Valence | None:
    """The valence of an atom's token, such as ``C``, ``n`` or ``[NH3+]``.

    Returns:
        None if RDKit does not read the token as one atom.
    """
    from rdkit.Chem import MolFromSmiles
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        molecule = MolFromSmiles(token, sanitize=False)
        if molecule is None or molecule.GetNumAtoms() != 1:
            return None
        if not molecule.GetAtomWithIdx(0).GetIsAromatic():
            return Valence(_most(token))
        paired = tuple(_paired(token))
        return Valence(0, paired) if paired else None


def _most(token: str) -> int:
    """The most single bonds that an atom may have."""
    bonds = 0
    while bonds < _MOST and _reads(token + "(*)" * (bonds + 1)):
        bonds += 1
    return bonds


def _paired(token: str) -> Iterator[tuple[Bonds, bool]]:
    """All sets of bonds of an aromatic atom that RDKit can write as a Kekulé structure.

    The atom is put into rings whose other atoms are carbons. Where those are even in number they
    pair up among themselves, and the atom must do without; where odd, it must pair with one.
    """
    for single, double in product(range(4), range(3)):
        others = "(C)" * single + "(=C)" * double
        for aromatic, even, odd in (
            (2, f"{token}1{others}cccc1", f"{token}1{others}ccccc1"),
            (3, f"{token}12{others}ccccc1ccc2", f"{token}12{others}ccccc1cccc2"),
        ):
            if _reads(odd):
                yield (aromatic, single, double), True
            elif _reads(even):
                yield (aromatic, single, double), False


def _reads(smiles: str) -> bool:
    from rdkit.Chem import MolFromSmiles

    return MolFromSmiles(smiles) is not None
