"""Which tokens may follow in a text of joined fragments, see :mod:`~.fragments`.

Each piece is a SMILES that :class:`~.grammar.Grammar` reads; a number of a cut takes a single bond
of the atom before it. It is opened in one piece and closed in another one, and only if the two
were not joined before: so the bond between them lies in no ring, and nothing else about the atom
that waits for it has to be known. What has to be known is which open numbers belong to pieces that
are joined already. Refused, though RDKit would read them, are numbers out of their order, bonds
that are written before a number, and cuts of rings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ketformer.tasks.molecules.fragments import NUMBERS
from ketformer.tasks.molecules.grammar import NEVER, Grammar
from ketformer.tasks.molecules.grammar_state import ATOM, State
from ketformer.tasks.molecules.valence import Valence


class Cuts(NamedTuple):
    """The numbers of cuts that are open.

    Attributes:
        used: how many were opened so far.
        own: those of the present piece and of what it is joined with.
        others: those of all other pieces, by what is joined.
    """

    used: int = 0
    own: tuple[int, ...] = ()
    others: tuple[tuple[int, ...], ...] = ()


class Pieces(NamedTuple):
    """What decides how a text of fragments can go on."""

    piece: State = State()
    cuts: Cuts = Cuts()


class FragmentGrammar:
    """The texts of joined fragments that can be written with some tokens.

    Args:
        tokens: those of a tokenizer, without the special ones.
        joined: whether all pieces must become one molecule.

    Attributes:
        unreadable: tokens in brackets that RDKit cannot read as an atom.
    """

    start = Pieces()

    def __init__(self, tokens: Iterable[str], *, joined: bool = False) -> None:
        known = list(tokens)
        self._numbers = {token: i for i, token in enumerate(t for t in NUMBERS if t in known)}
        self._piece = _Piece(token for token in known if token not in self._numbers)
        self._joined = joined
        self.unreadable = self._piece.unreadable

    def step(self, state: Pieces, token: str) -> Pieces | None:
        """The state after a token; None if no text goes on like that; see :meth:`needs`."""
        piece, cuts = state
        if (number := self._numbers.get(token)) is not None:
            held, after = self._piece.cut(piece), _numbered(cuts, number)
            return None if held is None or after is None else Pieces(held, after)
        following = self._piece.step(piece, token)
        if following is None:
            return None
        if token != ".":
            return Pieces(following, cuts)
        if cuts.own:
            cuts = Cuts(cuts.used, (), tuple(sorted((*cuts.others, cuts.own))))
        elif self._joined:
            return None
        return Pieces(following, cuts)

    def ends(self, state: Pieces) -> bool:
        """Whether the text is a molecule as it stands."""
        cuts = state.cuts
        return not (cuts.own or cuts.others) and self._piece.ends(state.piece)

    def needs(self, state: Pieces) -> int:
        """A number of tokens that end the text, the end token counted; ``NEVER`` without any.

        The piece closes some of the numbers that wait for it, and then ends; others are closed by
        one more piece, an atom or a chain of them, and those that are left by an atom each.
        """
        piece, cuts = state
        least = NEVER
        for closed in range(len(cuts.others) + 1):
            after = self._after(cuts, closed)
            if after < NEVER:
                least = min(least, self._piece.needs_closing(piece, closed) + after)
        return least

    def _after(self, cuts: Cuts, closed: int) -> int:
        """What is needed once the piece has closed so many numbers, each of other pieces."""
        sizes = [len(group) for group in cuts.others]
        numbers = len(cuts.own) + sum(sizes) - closed
        if not numbers:
            return 0
        waiting = bool(cuts.own or (closed and max(sizes) > 1))  # has the present piece a number
        if self._joined and not waiting:
            return NEVER
        groups = len(sizes) - closed + waiting
        return numbers + 1 + self._piece.chain(groups) + 2 * (numbers - groups)


def _numbered(cuts: Cuts, number: int) -> Cuts | None:
    """Open the next number, or close one and so join two pieces; None if that is not allowed."""
    if number == cuts.used:
        return Cuts(cuts.used + 1, (*cuts.own, number), cuts.others)
    for group in cuts.others:
        if number in group:
            own = sorted((*cuts.own, *(n for n in group if n != number)))
            return Cuts(cuts.used, tuple(own), tuple(g for g in cuts.others if g is not group))
    return None


class _Piece(Grammar):
    """The SMILES of one piece."""

    def __init__(self, tokens: Iterable[str]) -> None:
        super().__init__(tokens)
        self._closing: dict[tuple[State, int], int] = {}
        # Between aromatic atoms, RDKit takes the bond of a number for an aromatic one at first; it
        # reads that where the atom has three bonds at most, as where rings are fused.
        self._cut_kinds: dict[int, int] = {}
        for kind, valence in list(enumerate(self._valences))[1:]:
            few = tuple((bonds, double) for bonds, double in valence.paired if sum(bonds) <= 3)
            self._cut_kinds[kind] = len(self._valences)
            self._valences.append(Valence(0, few))

    def cut(self, state: State) -> State | None:
        """The state after a number, which takes a single bond of the last atom."""
        if state.place != ATOM or state.bond:
            return None
        last = state.path[-1]
        if last.aromatic:
            kind = self._cut_kinds.get(last.kind)
            if kind is None:  # it has been cut
                return None
            last = last._replace(kind=kind)
        held = self._bonded(last, 1)
        return None if held is None else state._replace(path=(*state.path[:-1], held))

    def chain(self, bonds: int) -> int:
        """The length of a chain of atoms that can have so many bonds to others."""
        most = max((self._atoms[token].left for token in self._plain), default=0)
        if bonds <= most:
            return 1
        return -((2 - bonds) // (most - 2)) if most > 2 else NEVER

    def needs_closing(self, state: State, count: int) -> int:
        """What :meth:`needs` is, if so many numbers of cuts are among what is still written."""
        if not count or self.needs(state) >= NEVER:
            return self.needs(state)
        found = self._closing.get((state, count))
        if found is None:
            found = self._closing[state, count] = self._search_closing(state, count)
        return found

    def _search_closing(self, state: State, count: int) -> int:
        """A number at the last atom or at one more; or else further on the way to the end."""
        ways = [self.step(state, token) for token in (*self._plain, *self._aromatic)]
        places = [(1, state), *((2, atom) for atom in ways if atom is not None)]
        held = [(tokens, self.cut(place)) for tokens, place in places]
        least = min(
            (n + self.needs_closing(after, count - 1) for n, after in held if after is not None),
            default=NEVER,
        )
        if least < NEVER:
            return least
        ways = [self.step(state, token) for token in self._ways(state)]
        nearer = [s for s in ways if s is not None and self.needs(s) < self.needs(state)]
        return min((1 + self.needs_closing(s, count) for s in nearer), default=NEVER)
