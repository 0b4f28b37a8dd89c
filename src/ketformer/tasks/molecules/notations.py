"""Notations that a model can write molecules in; everything outside it is SMILES.

A model's tokenizer tells its notation by the begin token.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.molecules import selfies_text
from ketformer.tasks.molecules.cached import cached_texts
from ketformer.tasks.molecules.chemistry import random_smiles, read_smiles
from ketformer.tasks.molecules.fragments import draw_fragments, write_fragments
from ketformer.tasks.molecules.tokens import BOS, PATTERN, split_smiles


@dataclass(frozen=True)
class Notation:
    """A way to write a molecule as a text.

    Attributes:
        name: the value of the setting ``tokenizer``.
        title: how messages call it.
        begin: the begin token.
        pattern: what a token looks like, for Python and for the tokenizers library.
        split: a text into its tokens; an ``UnreadableError`` says what is none.
        write: the text of a molecule, given its canonical SMILES.
        draw: a random text of it.
        read: the SMILES of a text.
        version: of what ``write`` does, for the cache; None if that is nothing.
    """

    name: str
    title: str
    begin: str
    pattern: str
    split: Callable[[str], list[str]]
    write: Callable[[str], str]
    draw: Callable[[str, np.random.Generator], str]
    read: Callable[[str], str]
    version: str | None = None

    def written(self, smiles: Sequence[str], *, progress: bool = True) -> list[str]:
        """The texts of many molecules, in parallel; those of 2,000 and more are cached.

        Args:
            smiles: canonical.
            progress: show a bar on stderr, for more than 2,000 molecules.

        Raises:
            KetformerError: a molecule cannot be written in this notation.
        """
        if self.version is None:
            return list(smiles)
        chunk = partial(_write_all, self.name)
        return cached_texts(self.version, chunk, smiles, progress=progress, label=self.name)


def _draw_smiles(smiles: str, draw: np.random.Generator) -> str:
    molecule = read_smiles(smiles)
    return smiles if molecule is None else random_smiles(molecule, draw)


#: By the value of the setting ``tokenizer``.
NOTATIONS = {
    notation.name: notation
    for notation in (
        Notation("smiles", "SMILES", BOS, PATTERN, split_smiles, str, _draw_smiles, str),
        Notation(
            "safe",
            "SMILES",
            "<safe>",
            PATTERN,
            split_smiles,
            write_fragments,
            draw_fragments,
            str,
            version="safe 1",
        ),
        Notation(
            "selfies",
            "SELFIES",
            "<selfies>",
            selfies_text.PATTERN,
            selfies_text.split_selfies,
            selfies_text.write_selfies,
            selfies_text.draw_selfies,
            selfies_text.read_selfies,
            version="selfies 1",
        ),
    )
}


def _write_all(name: str, smiles: Sequence[str]) -> list[str]:
    return [NOTATIONS[name].write(text) for text in smiles]


def find_notation(name: str) -> Notation:
    """The notation of this name.

    Raises:
        KetformerError: there is none.
    """
    if name not in NOTATIONS:
        known = ", ".join(NOTATIONS)
        raise KetformerError(f"no tokenizer {name!r} for molecules; there are {known}")
    return NOTATIONS[name]


def notation_of(tokenizer: PreTrainedTokenizerFast) -> Notation:
    """The notation of a molecule model's tokenizer."""
    return notation_with(tokenizer.get_vocab()) or NOTATIONS["smiles"]


def notation_with(vocabulary: Container[str]) -> Notation | None:
    """The notation whose begin token is in a vocabulary; None if it is not one of molecules."""
    return next((n for n in NOTATIONS.values() if n.begin in vocabulary), None)
