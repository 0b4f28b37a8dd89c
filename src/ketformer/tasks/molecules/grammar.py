"""Which tokens may follow in a SMILES, so that it can still become a sound molecule.

An automaton reads a SMILES token by token. Its state holds what decides the rest: the atoms that
can still get bonds, with the valence they have left, their open rings and branches, and for
aromatic atoms every way in which the bonds so far can be written as single and double ones. It
reads the grammar of OpenSMILES as RDKit writes it, canonical or in random order: ring numbers stand
before branches, and a ring that is opened in a branch is closed in it; an aromatic bond without a
symbol lies in a ring; components are complete before their dot. Other spellings of molecules that
RDKit would read as well are refused, and so are the bonds ``->``, ``<-`` and ``~``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ketformer.tasks.molecules.grammar_state import (
    AROMATIC,
    ATOM,
    CLOSED,
    OPENED,
    START,
    Atom,
    State,
    begins_ring,
    goes_on,
    is_lacking,
    pair,
)
from ketformer.tasks.molecules.valence import Valence, valence_of

#: More tokens than any sequence has: no way to end was found.
NEVER = 1_000_000

_ORDERS = {"-": 1, "=": 2, "#": 3, "$": 4, ":": AROMATIC, "/": 1, "\\": 1}
_SLACK = 1  # by how many tokens the limit on an end grows
_TRIES = 400  # states looked at in a search for an end; ten are the rule


class Grammar:
    """The SMILES that can be written with some tokens.

    Args:
        tokens: those of a tokenizer, without the special ones.

    Attributes:
        unreadable: tokens in brackets that RDKit cannot read as an atom.
    """

    start = State()

    def __init__(self, tokens: Iterable[str]) -> None:
        self._valences = [Valence(0)]  # by kind
        self._atoms: dict[str, Atom] = {}
        self._digits: dict[str, int] = {}
        self.unreadable: list[str] = []
        for token in (known := list(dict.fromkeys(tokens))):
            if (number := token.lstrip("%").strip("()")).isdecimal():
                self._digits[token] = int(number)
            elif (valence := valence_of(token)) is not None:
                # Only aromatic atoms differ in more than the valence that is left: fewer states.
                kind = valence if valence.aromatic else self._valences[0]
                if kind not in self._valences:
                    self._valences.append(kind)
                self._atoms[token] = Atom(self._valences.index(kind), valence.most)
            elif token.startswith("["):
                self.unreadable.append(token)
        self._bonds = {token: order for token, order in _ORDERS.items() if token in known}
        self._numbers = {number: token for token, number in self._digits.items()}
        self._order = sorted(self._numbers)
        self._needs: dict[State, int] = {}
        self._bounds: dict[State, int] = {}  # the least that a state may need
        # One atom of each sort suffices to end any SMILES: the one that can have the most bonds.
        self._plain = self._widest(lambda valence: not valence.aromatic)
        self._aromatic = [
            *self._widest(lambda valence: valence.needs_double((2, 0, 0)) is True),
            *self._widest(lambda valence: valence.needs_double((2, 0, 0)) is False),
        ]
        self._double = ["="] if "=" in self._bonds else []

    def step(self, state: State, token: str) -> State | None:
        """The state after a token; None if no SMILES goes on like that.

        That a state is reached doesn't mean that it can end: see :meth:`needs`.
        """
        if (atom := self._atoms.get(token)) is not None:
            return self._add_atom(state, atom)
        if (number := self._digits.get(token)) is not None:
            return self._ring(state, number)
        if (order := self._bonds.get(token)) is not None:
            if state.bond or state.place == START:
                return None
            return state._replace(bond=order)
        if token == "(":
            return self._open(state)
        if token == ")":
            return self._close(state)
        if token == "." and self.ends(state):
            return self.start
        return None

    def ends(self, state: State) -> bool:
        """Whether the SMILES is a molecule as it stands."""
        if state.place not in (ATOM, CLOSED) or state.bond or len(state.path) != 1:
            return False
        return not state.path[0].rings and self._leave(state.path, state.paired, 0) is not None

    def needs(self, state: State) -> int:
        """A number of tokens that end the SMILES, the end token counted; ``NEVER`` without any.

        For almost all states it is the smallest one.
        """
        found = self._needs.get(state)
        if found is None:
            similar = self._similar(state)
            found = self._needs.get(similar)
            if found is None:
                found = self._by_parts(similar) if self._can_pair(similar) else NEVER
                self._needs[similar] = found
            self._needs[state] = found
        return found

    def _widest(self, wanted: Callable[[Valence], bool]) -> list[str]:
        """The atom's token that can have the most bonds of those wanted, if there are any."""
        found = {t: v for t, a in self._atoms.items() if wanted(v := self._valences[a.kind])}
        most = {t: (self._atoms[t].left, len(v.paired)) for t, v in found.items()}
        return sorted(most, key=lambda t: (-most[t][0], -most[t][1], t))[:1]

    # --- Atoms, rings and branches ---------------------------------------------------------------

    def _add_atom(self, state: State, new: Atom) -> State | None:
        if state.place == START:
            return State(ATOM, 0, (new,), state.paired)
        path, paired = list(state.path), state.paired
        last = path[-1]
        order = state.bond or (AROMATIC if new.aromatic and last.aromatic else 1)
        first, second = self._bonded(last, order), self._bonded(new, order)
        if first is None or second is None:
            return None
        if state.place == ATOM:
            path = [atom._replace(bonded=False) if atom.bonded else atom for atom in path]
        path[-1] = first._replace(
            bonded=bool(first.rings), outside=last.outside or order == AROMATIC
        )
        path.append(second)
        if order == AROMATIC:
            paired = pair(paired, len(path) - 2, len(path) - 1)
        return self._without(State(ATOM, 0, tuple(path), paired), len(path) - 2)

    def _ring(self, state: State, number: int) -> State | None:
        if state.place != ATOM:
            return None
        path, paired, here = list(state.path), state.paired, len(state.path) - 1
        last = path[here]
        there = next((i for i, atom in enumerate(path) if number in dict(atom.rings)), None)
        if there is None:
            held = self._holding(last, number, state.bond)
            return None if held is None else state._replace(bond=0, path=(*path[:-1], held))
        other = path[there]
        asked = dict(other.rings)[number]
        if there == here or other.bonded or (asked and state.bond and asked != state.bond):
            return None
        order = asked or state.bond or (AROMATIC if last.aromatic and other.aromatic else 1)
        first, second = (
            self._bonded(self._released(other, number), order),
            self._bonded(last, order),
        )
        if first is None or second is None:
            return None
        path[there], path[here] = first._replace(bonded=bool(first.rings)), second
        for place in range(there, here):  # all bonds between the two are now in a ring
            if path[place].outside:
                path[place] = path[place]._replace(outside=False)
        if order == AROMATIC:
            paired = pair(paired, there, here)
        return self._without(State(ATOM, 0, tuple(path), paired), there)

    def _open(self, state: State) -> State | None:
        if state.place not in (ATOM, CLOSED) or state.bond:
            return None
        path = [atom._replace(bonded=False) if atom.bonded else atom for atom in state.path]
        path[-1] = path[-1]._replace(branch=True)
        return State(OPENED, 0, tuple(path), state.paired)

    def _close(self, state: State) -> State | None:
        path = state.path
        if state.place not in (ATOM, CLOSED) or state.bond or len(path) < 2:
            return None
        base = path[-2]
        if path[-1].rings or not base.branch or base.outside:
            return None
        left = self._leave(path, state.paired, len(path) - 1)
        if left is None:
            return None
        rest = [atom._replace(bonded=False) if atom.bonded else atom for atom in left[0]]
        rest[-1] = rest[-1]._replace(branch=False)
        return State(CLOSED, 0, tuple(rest), left[1])

    # --- The bonds of one atom -------------------------------------------------------------------

    def _bonded(self, atom: Atom, order: int) -> Atom | None:
        """The atom with one more bond."""
        if not atom.aromatic:
            left = atom.left - order
            return None if order == AROMATIC or left < 0 else Atom(0, left, *atom[2:])
        valence = self._valences[atom.kind]
        aromatic, single, double = atom.bonds
        if order == AROMATIC:
            bonds = aromatic + 1, single, double
        elif order == 1:
            bonds = aromatic, single + 1, double
        elif order == 2:
            bonds = aromatic, single, double + 1
        else:
            return None
        if not valence.may_have(bonds, len(atom.rings)):
            return None
        return Atom(atom.kind, atom.left, bonds, *atom[3:])

    def _holding(self, atom: Atom, number: int, order: int) -> Atom | None:
        """The atom with one more open ring."""
        rings = (*atom.rings, (number, order))
        if atom.aromatic:
            valence = self._valences[atom.kind]
            if order in (3, 4) or not valence.may_have(atom.bonds, len(rings)):
                return None
            return atom._replace(rings=rings)
        left = atom.left - (order or 1)
        return None if order == AROMATIC or left < 0 else atom._replace(rings=rings, left=left)

    def _released(self, atom: Atom, number: int) -> Atom:
        """The atom without an open ring, and with the valence that was kept for it."""
        kept = next(order or 1 for n, order in atom.rings if n == number)
        rings = tuple(ring for ring in atom.rings if ring[0] != number)
        return atom._replace(rings=rings, left=atom.left if atom.aromatic else atom.left + kept)

    # --- Atoms that get no more bonds ------------------------------------------------------------

    def _without(self, state: State, place: int) -> State | None:
        """The state without the atom there, if it can get no more bonds."""
        path, paired = state.path, state.paired
        if not (path[place].rings or path[place].branch or place == len(path) - 1):
            left = self._leave(path, paired, place)
            if left is None:
                return None
            path, paired = left
        for atom in path:  # the ring of an aromatic bond begins at or before its first atom
            if atom.rings:
                break
            if atom.outside:
                return None
        return State(state.place, state.bond, path, paired)

    def _leave(
        self, path: tuple[Atom, ...], paired: frozenset[int], place: int
    ) -> tuple[tuple[Atom, ...], frozenset[int]] | None:
        """The path and the pairings without an atom; None if the atom may not end like that."""
        atom = path[place]
        if atom.aromatic:
            double = self._valences[atom.kind].needs_double(atom.bonds)
            if double is None:
                return None
            paired = frozenset(bits for bits in paired if (bits >> place & 1) == double)
            if not paired:
                return None
        below = (1 << place) - 1
        paired = frozenset((bits & below) | (bits >> place + 1) << place for bits in paired)
        before = path[:place]
        if atom.outside:
            if not before:
                return None
            if not before[-1].outside:
                before = (*before[:-1], before[-1]._replace(outside=True))
        return before + path[place + 1 :], paired

    # --- The way to the end ----------------------------------------------------------------------

    def _similar(self, state: State) -> State:
        """A state that ends alike: rings are numbered in order, and no valence is idle."""
        path, rings, last = [], 0, len(state.path) - 1
        for place, atom in enumerate(state.path):
            if atom.rings:
                named = tuple((self._order[rings + i], o) for i, (_, o) in enumerate(atom.rings))
                rings += len(named)
                if named != atom.rings:
                    atom = atom._replace(rings=named)
            most = 1 if place < last else rings + 1 if not state.bond else rings + 4
            if atom.left > most:
                atom = atom._replace(left=most)
            path.append(atom)
        return state._replace(path=tuple(path))

    def _can_pair(self, state: State) -> bool:
        """False if no pairing fits the bonds that some atom is still going to get."""
        paired, last = state.paired, len(state.path) - 1
        for place, atom in enumerate(state.path):
            if not atom.aromatic:
                continue
            bonds, more = atom.bonds, len(atom.rings)
            if place == last and state.bond in (1, 2):
                aromatic, single, double = bonds
                bonds = aromatic, single + (state.bond == 1), double + (state.bond == 2)
            elif place == last:
                more += goes_on(state)
            valence = self._valences[atom.kind]
            exactly = place < last and not atom.branch
            with_double, without = valence.outcomes(bonds, more, exactly)
            if not (with_double and without):
                paired = frozenset(
                    bits for bits in paired if (with_double if bits >> place & 1 else without)
                )
        return bool(paired)

    def _by_parts(self, state: State) -> int:
        """The least that a branch needs alone and the rest after it, if the two are separate.

        It is the least over the branches, so that it falls with each token of the way to an end.
        """
        least, used = NEVER, sum(len(atom.rings) for atom in state.path)
        for base in range(len(state.path) - 2, -1, -1):
            if not state.path[base].branch or state.path[base].outside:
                continue
            if begins_ring(state) and used == len(self._order):
                break  # the branch alone would take a number that is in use
            inner = frozenset(bits >> base + 1 for bits in state.paired)
            outer = frozenset(bits & (2 << base) - 1 for bits in state.paired)
            if len(inner) * len(outer) == len(state.paired):
                rest = [atom._replace(bonded=False) for atom in state.path[: base + 1]]
                rest[-1] = rest[-1]._replace(branch=False)
                alone = self.needs(State(state.place, state.bond, state.path[base + 1 :], inner))
                after = self.needs(State(CLOSED, 0, tuple(rest), outer))
                least = min(least, alone + after)
        return least if least < NEVER else self._search(state)

    def _search(self, state: State) -> int:
        """Depth-first, with a limit on the length that grows from the least conceivable one."""
        tries = [_TRIES]
        limit = self._least(state)
        while tries[0] and limit < NEVER:
            if self._within(state, limit + _SLACK, tries):
                return self._needs[state]
            limit = max(limit + _SLACK, self._least(state))
        return NEVER

    def _within(self, state: State, limit: int, tries: list[int]) -> bool:
        """Whether an end of at most that many tokens is found; what was learnt is noted."""
        if (known := self._needs.get(state)) is not None:
            return known <= limit
        if not tries[0]:
            return False
        tries[0] -= 1
        if self.ends(state):
            self._needs[state] = 1
            return True
        least = NEVER
        for token in self._ways(state):
            following = self.step(state, token)
            if following is None:
                continue
            following = self._similar(following)
            if self._least(following) < limit and self._within(following, limit - 1, tries):
                self._needs[state] = 1 + self._needs[following]
                return True
            least = min(least, 1 + self._least(following))
        if tries[0]:
            self._bounds[state] = least
        return False

    def _ways(self, state: State) -> list[str]:
        """Tokens that bring a SMILES to an end, those first that do so soonest."""
        ways = [self._numbers[n] for atom in state.path for n, _ in atom.rings]
        ways.append(")")
        if not state.path:
            return self._plain + self._aromatic
        *before, last = state.path
        aromatic = last.aromatic
        lacking = any(is_lacking(atom) for atom in before)
        if begins_ring(state):
            used = {number for atom in state.path for number, _ in atom.rings}
            ways += [self._numbers[number] for number in self._order if number not in used][:1]
        if (
            lacking
            or (aromatic and is_lacking(last))
            or any(atom.outside for atom in before)
            or (aromatic and any(atom.rings and atom.aromatic for atom in before))
        ):
            ways += self._aromatic
        if not aromatic or state.bond in (1, 2) or not is_lacking(last):
            ways += self._plain
            waiting = [atom for atom in state.path if atom.rings]
            if any(atom.aromatic for atom in waiting) if not aromatic else not waiting:
                ways += self._double
        return ways

    def _least(self, state: State) -> int:
        """Fewer tokens than this end no SMILES from there, as far as is known."""
        known = self._needs.get(state) or self._bounds.get(state)
        if known is not None:
            return known
        waiting = bool(state.bond) or state.place in (START, OPENED)
        return 1 + waiting + sum(len(atom.rings) + atom.branch for atom in state.path)
