"""Sampling only tokens after which a SMILES can still become a sound molecule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.fragments import NUMBERS
from ketformer.tasks.molecules.grammar import NEVER, Grammar
from ketformer.tasks.molecules.grammar_fragments import FragmentGrammar
from ketformer.tasks.molecules.notations import notation_of
from ketformer.tasks.molecules.substructure import Part

_END, _NOWHERE, _START = range(3)  # the first states of a table
_UNKNOWN = -1
_MOST_STATES = 200_000  # some hundred MB


@dataclass
class Refused:
    """How often the model was not followed.

    Attributes:
        molecules: how many were sampled.
        changed: in how many of them a token was refused.
        tokens: how many were drawn, the end tokens counted.
        refused: how many of these, before the choice was repeated, led to no molecule.
    """

    molecules: int = 0
    changed: int = 0
    tokens: int = 0
    refused: int = 0

    def shares(self) -> dict[str, float | int]:
        """The numbers, and the shares of all molecules and tokens."""
        return {
            "molecules": self.molecules,
            "molecules_changed": self.changed / max(self.molecules, 1),
            "tokens": self.tokens,
            "tokens_refused": self.refused / max(self.tokens, 1),
        }


class Constraint:
    """The molecules of one batch, as far as they are written.

    Which tokens may follow is looked up in a table, which learns each state and token the first
    time they are drawn, and is kept for other batches.

    Args:
        tokenizer: each of its tokens is one of a SMILES.
        num: molecules in the batch.
        refused: is added to.
        prompt: token ids that all of them begin with.
        joined: whether all fragments must become one molecule.

    Raises:
        KetformerError: the tokenizer has tokens that are not SMILES, or is of another notation;
            or no sound molecule begins with the prompt.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        num: int,
        refused: Refused,
        prompt: Sequence[int] = (),
        *,
        joined: bool = False,
    ) -> None:
        self._table = table_of(tokenizer, joined=joined)
        state = np.array([_START])
        for token in prompt:
            state = self._table.after(state, np.array([token]))
        if state[0] == _NOWHERE:
            raise KetformerError("--constrained: no molecule of this run's tokens begins like that")
        self._states = np.full(num, state[0])
        self._changed = np.zeros(num, dtype=bool)
        self._refused = refused
        refused.molecules += num

    def choose(
        self,
        rows: Tensor,
        logits: Tensor,
        draw: Callable[[Tensor, Tensor], Tensor],
        room: int,
        *,
        beforehand: bool,
    ) -> Tensor:
        """The next token ``[B]`` of each row, drawn from those that are allowed.

        A token that is refused is taken out, and the row is drawn again: the result has the
        model's probabilities, renormalised over the allowed tokens, and no others are looked up.

        Args:
            rows: ``[B]``, numbers of those molecules of the batch that have not ended.
            logits: ``[B, vocab_size]``, changed in place.
            draw: tokens ``[n]`` from logits ``[n, vocab_size]`` of the rows at places ``[n]``.
            room: tokens that still fit after this one.
            beforehand: take all refused tokens out first, because ``draw`` looks at more than
                the token it draws, such as the k most likely ones.
        """
        table, numbers = self._table, rows.cpu().numpy()
        places = torch.arange(len(rows), device=logits.device)
        before = self._states[numbers]
        chosen = draw(logits, places)
        after = table.after(before, chosen.cpu().numpy())
        wrong = (table.needs[after] > room).nonzero()[0]
        self._refused.tokens += len(rows)
        self._refused.refused += len(wrong)
        self._refused.changed += int((~self._changed[numbers[wrong]]).sum())
        self._changed[numbers[wrong]] = True
        if beforehand:
            every = table.all_after(before)  # which may put a longer array in the place of needs
            allowed = table.needs[every] <= room
            logits.masked_fill_(~torch.from_numpy(allowed).to(logits.device), -torch.inf)
            wrong = np.arange(len(rows))
        while len(wrong):
            places = torch.from_numpy(wrong).to(logits.device)
            if not beforehand:
                logits[places, chosen[places]] = -torch.inf
            left = logits[places]
            stuck = left.isneginf().all(1)  # the search for an end had given up: end right here
            left[:, table.end].masked_fill_(stuck, 0)
            drawn = draw(left, places)
            chosen[places] = drawn
            after[wrong] = table.after(before[wrong], drawn.cpu().numpy())
            wrong = wrong[(table.needs[after[wrong]] > room) & ~stuck.cpu().numpy()]
        self._states[numbers] = after
        return chosen


def require_readable(grammar: Rules, parts: Iterable[Part]) -> None:
    """Refuse parts of molecules that the grammar cannot read, so that no sample could be finished.

    Args:
        grammar: of fragments.
        parts: what the molecules are to contain.

    Raises:
        KetformerError: naming the first of them.
    """
    for part in parts:
        state, numbers = grammar.start, iter(NUMBERS)
        for step in part.steps(None):
            state = grammar.step(state, step.token or next(numbers))
            if state is None:
                raise KetformerError(
                    f"--constrained knows no such bonds as those of {part.smiles!r}; sample "
                    "without it"
                )


class Rules(Protocol):
    """A grammar: :class:`~ketformer.tasks.molecules.grammar.Grammar` or that of fragments."""

    start: Any
    unreadable: list[str]

    def step(self, state: Any, token: str) -> Any:
        """The state after a token; None if nothing goes on like that."""

    def ends(self, state: Any) -> bool:
        """Whether the text is a molecule as it stands."""

    def needs(self, state: Any) -> int:
        """A number of tokens that end the text, the end token counted."""


def table_of(tokenizer: PreTrainedTokenizerBase, *, joined: bool = False) -> Table:
    """The table of a tokenizer, which other batches may have begun.

    Args:
        tokenizer: of a run of molecules.
        joined: whether all fragments must become one molecule.

    Raises:
        KetformerError: the tokenizer has tokens that are not SMILES.
    """
    if (notation := notation_of(tokenizer).name) not in ("smiles", "safe"):
        raise KetformerError(f"--constrained reads SMILES, and this run writes {notation}")
    vocabulary = tokenizer.get_vocab()
    special = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    tokens = ["" if t in special else t for t in sorted(vocabulary, key=vocabulary.__getitem__)]
    end = vocabulary[str(tokenizer.eos_token)]
    table = _table(tuple(tokens), end, notation == "safe", joined)
    if len(table.states) > _MOST_STATES:
        _table.cache_clear()
        return table_of(tokenizer, joined=joined)
    return table


@lru_cache(maxsize=4)
def _table(tokens: tuple[str, ...], end: int, fragments: bool, joined: bool) -> Table:
    known = [token for token in tokens if token]
    grammar = FragmentGrammar(known, joined=joined) if fragments else Grammar(known)
    return Table(tokens, end, grammar)


class Table:
    """The states that were met, by number, and what follows them by token.

    Args:
        tokens: the vocabulary; the special ones are empty.
        end: id of the end token.
        grammar: of these tokens.

    Attributes:
        states: by number; the first two stand for the end and for no molecule.
        needs: ``[n_states or more]``, tokens that end the text.
        end: id of the end token.

    Raises:
        KetformerError: some tokens are not SMILES.
    """

    def __init__(self, tokens: tuple[str, ...], end: int, grammar: Rules) -> None:
        self.tokens, self.end, self.grammar = tokens, end, grammar
        if grammar.unreadable:
            raise KetformerError(
                f"--constrained reads SMILES, and token {grammar.unreadable[0]!r} of this run is "
                "none; sample it without"
            )
        self.states = [grammar.start] * 3
        self.needs = np.array([0, NEVER, grammar.needs(grammar.start)])
        self._numbers: dict[Any, int] = {grammar.start: _START}
        self._after = np.full((3, len(tokens)), _UNKNOWN)

    def after(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The states ``[n]`` after a token each ``[n]``."""
        found: np.ndarray = self._after[states, tokens]
        unknown = (found == _UNKNOWN).nonzero()[0]
        if not len(unknown):
            return found
        pairs = zip(states[unknown].tolist(), tokens[unknown].tolist(), strict=True)
        for state, token in sorted(set(pairs)):
            number = self._learn(state, token)
            self._after[state, token] = number
        known: np.ndarray = self._after[states, tokens]
        return known

    def all_after(self, states: np.ndarray) -> np.ndarray:
        """The states ``[n, vocab_size]`` after each token."""
        count = len(self.tokens)
        distinct, which = np.unique(states, return_inverse=True)
        found = self.after(np.repeat(distinct, count), np.tile(np.arange(count), len(distinct)))
        every: np.ndarray = found.reshape(-1, count)[which]
        return every

    def _learn(self, state: int, token: int) -> int:
        """The number of the state after a token, a new one if it was never met."""
        if token == self.end:
            return _END if self.grammar.ends(self.states[state]) else _NOWHERE
        following = self.grammar.step(self.states[state], self.tokens[token])
        if following is None:
            return _NOWHERE
        if (number := self._numbers.get(following)) is not None:
            return number
        if (needs := self.grammar.needs(following)) >= NEVER:
            return _NOWHERE
        number = self._numbers[following] = len(self.states)
        self.states.append(following)
        if number >= len(self.needs):
            self.needs = np.concatenate([self.needs, np.zeros_like(self.needs)])
            self._after = np.concatenate([self._after, np.full_like(self._after, _UNKNOWN)])
        self.needs[number] = needs
        return number
