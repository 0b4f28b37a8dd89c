"""What decides how a SMILES can go on: the states of :class:`~.grammar.Grammar`."""

from __future__ import annotations

from typing import NamedTuple

from ketformer.tasks.molecules.valence import Bonds

#: Where the next token stands: first in a component, after an atom, after ")", after "(".
START, ATOM, CLOSED, OPENED = range(4)
#: The order of an aromatic bond.
AROMATIC = 5


class Atom(NamedTuple):
    """An atom that can still get bonds: the last one, or one with open rings or an open branch.

    Attributes:
        kind: the valence of an aromatic atom, by its number; 0 for all other atoms.
        left: valence left; of an aromatic atom the ``bonds`` count instead.
        rings: number and bond order (0: not said) of each open ring.
        branch: whether a branch is open at it.
        bonded: whether it has open rings and is bonded to the last atom, so that no ring may
            close between them.
        outside: whether an aromatic bond between it and the next of these atoms is in no ring yet.
    """

    kind: int
    left: int
    bonds: Bonds = (0, 0, 0)
    rings: tuple[tuple[int, int], ...] = ()
    branch: bool = False
    bonded: bool = False
    outside: bool = False

    @property
    def aromatic(self) -> bool:
        """Whether the atom is aromatic."""
        return self.kind > 0


class State(NamedTuple):
    """What decides how a SMILES can go on; see :class:`Grammar`.

    Attributes:
        place: where the next token stands.
        bond: the order of a bond that waits for its second atom, 0 if none does.
        path: the atoms that can still get bonds, from the first to the last.
        paired: sets of these atoms, as bits, that can have their double bond at the same time.
    """

    place: int = START
    bond: int = 0
    path: tuple[Atom, ...] = ()
    paired: frozenset[int] = frozenset({0})


def goes_on(state: State) -> bool:
    """Whether another atom must follow the last one, or a ring be closed at it."""
    *before, last = state.path
    if state.bond or state.place == OPENED or last.rings:
        return True
    for atom in reversed(before):
        if atom.branch or atom.rings:
            return not atom.branch
    return False


def pair(paired: frozenset[int], one: int, other: int) -> frozenset[int]:
    """The pairings, also with a double bond between two atoms that have none."""
    bits = 1 << one | 1 << other
    return paired | {before | bits for before in paired if not before & bits}


def begins_ring(state: State) -> bool:
    """Whether the last atom is aromatic and in no ring yet."""
    last = state.path[-1]
    return last.aromatic and state.place == ATOM and last.bonds[0] + len(last.rings) == 0


def is_lacking(atom: Atom) -> bool:
    """Whether an aromatic atom has fewer than two aromatic bonds."""
    return atom.aromatic and atom.bonds[0] < 2
