"""Sampling molecules that contain a scaffold, or fragments to be linked.

A model of fragments (tokenizer ``safe``) begins each molecule with the parts that it was asked
for, written as it was trained to write the first pieces of a molecule; it chooses where they are
cut, unless they say so with attachment points, and what is written after them. So that all of it
becomes one molecule, a number that no cut waits for, a dot that would leave a piece behind and an
end with open cuts are never chosen. Nothing is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.runs import Run
from ketformer.tasks.molecules.fragments import NUMBERS
from ketformer.tasks.molecules.notations import notation_of
from ketformer.tasks.molecules.substructure import Part, Step, read_part

# How often another text of a part is drawn in place of one with an unknown token.
_REDRAWN = 5


def parts_of(scaffold: str | None, fragments: Sequence[str]) -> list[Part]:
    """The parts that a molecule is to contain; none if nothing was asked for.

    Raises:
        KetformerError: both are given, or see
            :func:`~ketformer.tasks.molecules.substructure.read_part`.
    """
    if scaffold is not None and fragments:
        raise KetformerError("give either --scaffold or --fragment, not both")
    if scaffold is not None:
        return [read_part(scaffold, "--scaffold")]
    return [read_part(fragment, "--fragment") for fragment in fragments]


class Beginnings:
    """How the molecules of a sampling begin.

    Args:
        run: a run of molecules.
        parts: what they contain, in this order; at least one.
        seed: decides how each molecule writes them, if the run was trained on random SMILES.

    Raises:
        KetformerError: the run was not trained on fragments, or a part has an unknown token or
            fills the context.
    """

    def __init__(self, run: Run, parts: Sequence[Part], seed: int) -> None:
        if notation_of(run.tokenizer).name != "safe":
            raise KetformerError(
                f"{run.path} was not trained on fragments, so it cannot begin with a scaffold; "
                "train with --tokenizer safe, best with --randomise_smiles true"
            )
        self.parts, self.seed = parts, seed
        self.random = run.settings.randomise_smiles
        self.vocabulary: dict[str, int] = run.tokenizer.get_vocab()
        self.device = run.model.device
        numbers = [self.vocabulary[number] for number in NUMBERS if number in self.vocabulary]
        if not numbers:
            raise KetformerError(f"no molecule that {run.path} was trained on has a bond to cut")
        self.tokens = _Tokens(numbers, self.vocabulary["."], run.tokenizer.eos_token_id)
        for part in parts:
            if unknown := self._unknown(part.steps(None)):
                raise KetformerError(
                    f"{part.smiles!r} needs the token {unknown!r}, which is not in the vocabulary "
                    f"of {run.path}"
                )
        cuts = sum(max(part.points, 1) for part in parts)
        if cuts > len(self.tokens.numbers):
            raise KetformerError(
                f"{cuts} attachments were asked for, but the molecules that {run.path} was trained "
                f"on have at most {len(self.tokens.numbers)}"
            )
        self.context = run.model.config.max_position_embeddings
        needed = tokens_needed([part.steps(None) for part in parts])
        if needed > self.context:
            raise KetformerError(
                f"{' and '.join(part.smiles for part in parts)} need {needed} tokens with their "
                f"attachments, but {run.path} writes at most {self.context}"
            )

    def guide(self, start: int, count: int) -> ScaffoldGuide:
        """For molecules number ``start`` and the following."""
        return ScaffoldGuide(
            [self._row(i) for i in range(start, start + count)],
            self.tokens,
            len(self.vocabulary),
            self.device,
        )

    def _row(self, number: int) -> _Row:
        draw = np.random.default_rng((self.seed, number)) if self.random else None
        pieces = []
        for part in self.parts:
            steps = part.steps(draw)
            for _ in range(_REDRAWN):
                if not self._unknown(steps):
                    break
                steps = part.steps(draw)
            else:
                steps = part.steps(None)
            pieces.append(steps)
        if tokens_needed(pieces) > self.context:
            pieces = [part.steps(None) for part in self.parts]
        written = [[(self.vocabulary.get(s.token or "", _NEW), s.spare) for s in p] for p in pieces]
        return _Row(self.tokens, written, self.context)

    def _unknown(self, steps: Sequence[Step]) -> str | None:
        """The first token that the run does not know."""
        named = (step.token for step in steps if step.token is not None)
        return next((token for token in named if token not in self.vocabulary), None)


class ScaffoldGuide:
    """Which tokens may follow, for each of the molecules that are sampled together."""

    def __init__(
        self, rows: Sequence[_Row], tokens: _Tokens, vocab_size: int, device: torch.device
    ) -> None:
        self.rows, self.device = rows, device
        self._ordinary = np.ones(vocab_size, dtype=bool)
        self._ordinary[[*tokens.numbers, tokens.dot, tokens.end]] = False

    def allowed(self, rows: Tensor) -> Tensor:
        """``[B, V]``: whether each token may be next in the molecules of these numbers."""
        mask = np.tile(self._ordinary, (len(rows), 1))
        for place, row in enumerate(rows.tolist()):
            state = self.rows[row]
            if state.begins:
                mask[place] = False
            mask[place, state.choices] = True
        return torch.from_numpy(mask).to(self.device)

    def advance(self, rows: Tensor, chosen: Tensor) -> None:
        """Note what was chosen."""
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            self.rows[row].advance(token)


@dataclass(frozen=True)
class _Tokens:
    """The ids of tokens with a role: the numbers of cuts in their order, the dot, the end."""

    numbers: list[int]
    dot: int
    end: int


_NEW = -1  # stands for the next number


def cuts_of(piece: Sequence[tuple[int, int]]) -> int:
    """How many numbers a piece of several needs at least."""
    return max(_points(piece), 1)


def _points(piece: Sequence[tuple[int, int]]) -> int:
    """How many attachment points it has."""
    return sum(token == _NEW for token, _ in piece)


def _joining(numbers: int, pieces: int) -> int:
    """In how many tokens, with the end token, so many pieces and open numbers can be joined.

    An atom or a chain takes a number of each piece, and every other number gets its own atom.
    """
    return numbers + 1 + max(1, pieces - 2) + 2 * (numbers - pieces) + 1


def tokens_needed(pieces: Sequence[Sequence[Step]]) -> int:
    """The tokens of a molecule that has these pieces, if they are linked by as few as possible."""
    cuts = [sum(step.token is None for step in piece) for piece in pieces]
    written = sum(len(piece) + (not points) for piece, points in zip(pieces, cuts, strict=True))
    return written + len(pieces) - 1 + _joining(sum(max(n, 1) for n in cuts), len(pieces))


@dataclass
class _Row:
    """What one molecule consists of so far.

    Attributes:
        tokens: those with a role.
        pieces: of the beginning: token ids, or ``_NEW``, with how many numbers may follow.
        room: for how many more tokens there is room.
        choices: in the beginning the tokens that may be next; then those of them with a role.
        begins: whether it is in its beginning.
    """

    tokens: _Tokens
    pieces: list[list[tuple[int, int]]]
    room: int
    choices: list[int] = field(default_factory=list)
    begins: bool = True

    def __post_init__(self) -> None:
        self.used = 0  # numbers
        self.open: dict[int, int] = {}  # the piece in which a number was opened, by its token
        self.piece = 0
        self.place = 0  # of the next step in the piece
        self.spare = 0
        self.empty = True  # is the piece
        self.group = [0]  # for each piece the first one that it is joined with
        self._choose()

    def advance(self, token: int) -> None:
        """Add a token."""
        self.room -= 1
        if token == self.tokens.dot:
            self.piece += 1
            self.place = self.spare = 0
            self.empty = True
            self.group.append(self.piece)
            self.begins = self.piece < len(self.pieces)
        elif token in self.tokens.numbers:
            if self.spare:
                self.spare -= 1
            elif self.begins:
                self._go_on()
            self._number(token)
        elif self.begins and token != self.tokens.end:
            self.empty = False
            self._go_on()
        elif self.empty:
            self.empty = False
        else:
            return  # which changes nothing
        self._choose()

    def _go_on(self) -> None:
        self.spare = self.pieces[self.piece][self.place][1]
        self.place += 1

    def _number(self, token: int) -> None:
        """Open a cut, or close one and so join two pieces."""
        if token not in self.open:
            self.open[token] = self.piece
            self.used += 1
            return
        other = self.group[self.open.pop(token)]
        own = self.group[self.piece]
        self.group = [min(own, other) if g in (own, other) else g for g in self.group]

    def _choose(self) -> None:
        fresh = self.tokens.numbers[self.used : self.used + 1]
        if not self.begins:
            closing = [token for token, piece in self.open.items() if piece != self.piece]
            self.choices = [] if self.empty else [*closing, *fresh, *self._ends()]
            return
        left = self.pieces[self.piece][self.place :]
        point = not self.spare and bool(left) and left[0][0] == _NEW
        on = self._ends() if not left else fresh if point else [left[0][0]]
        # Whether a number may or must come later in this piece.
        later = any(spare or token == _NEW for token, spare in left[point:])
        direct = self._direct(later or self.spare > 1) if self.spare or point else []
        group = self.group[self.piece]
        joined = len(self.pieces) == 1 or self._whole() or group in self._waiting()
        if self.spare and not joined and not later:
            self.choices = [*direct, *fresh]  # the last place to join this piece to another
            return
        on = [*direct, *on]
        self.choices = [*(fresh if self.spare and self._fits(left) else []), *on]

    def _fits(self, left: Sequence[tuple[int, int]]) -> bool:
        """Whether one more number leaves enough numbers and room for what must follow.

        Args:
            left: the rest of the piece.
        """
        later = self.pieces[self.piece + 1 :]
        kept = sum(cuts_of(piece) for piece in later)
        if self.used + kept >= len(self.tokens.numbers):
            return False
        numbers = len(self.open) + 1 + kept + _points(left)
        ahead = len(left) + sum(len(piece) + 1 + (not _points(piece)) for piece in later)
        return 1 + ahead + _joining(numbers, len(self.pieces)) <= self.room

    def _direct(self, later: bool) -> list[int]:
        """The numbers that bind this atom to another piece, which was not joined with this one.

        The two must then be whole, or keep a number that joins them to the others.

        Args:
            later: whether this piece can open a number after that.
        """
        own = self.group[self.piece]
        waiting = [self.group[piece] for piece in self.open.values()]
        groups = len(set(self.group))
        return [
            token
            for token, piece in self.open.items()
            if (other := self.group[piece]) != own
            and (
                later
                or waiting.count(other) + waiting.count(own) > 1
                or (groups == 2 and self.piece + 1 == len(self.pieces))
            )
        ]

    def _waiting(self) -> set[int]:
        """The groups of pieces with an open number."""
        return {self.group[piece] for piece in self.open.values()}

    def _whole(self) -> bool:
        """Whether all that was asked for is one molecule."""
        return self.piece + 1 == len(self.pieces) and len(set(self.group)) == 1

    def _ends(self) -> list[int]:
        """The dot and the end, where nothing is left behind by them."""
        if self.begins and self.piece + 1 < len(self.pieces):
            return [self.tokens.dot]
        if not self.open:
            return [self.tokens.end] if len(set(self.group)) == 1 else []
        return [self.tokens.dot] if self._waiting() == set(self.group) else []
