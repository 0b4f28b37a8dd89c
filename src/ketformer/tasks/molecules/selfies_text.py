"""SELFIES: a notation in which every text is a molecule (Krenn et al. 2020, arXiv 1905.13741)."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import numpy as np

from ketformer.errors import KetformerError, UnreadableError
from ketformer.tasks.molecules.chemistry import random_smiles, read_smiles

#: What a token looks like; the end token looks like one and is excluded.
PATTERN = r"\[(?!EOS\])[^\[\]]+\]|\."
_TOKEN = re.compile(PATTERN)
_REDRAWN = 5


def split_selfies(text: str) -> list[str]:
    """The tokens of a SELFIES.

    Raises:
        UnreadableError: it is empty, or something in it is no token.
    """
    tokens = _TOKEN.findall(text)
    if not tokens or "".join(tokens) != text:
        raise UnreadableError(f"{text!r} is not SELFIES")
    return tokens


def write_selfies(smiles: str) -> str:
    """The SELFIES of a molecule, its atoms in the order of the SMILES.

    Raises:
        UnreadableError: it has no SELFIES: an atom with more bonds than the library allows, say.
        KetformerError: the library is not installed.
    """
    selfies = _library()
    try:
        return str(selfies.encoder(smiles))
    except selfies.EncoderError as error:
        reason = str(error).strip().splitlines()[0]
        raise UnreadableError(
            f"{smiles!r} cannot be written as SELFIES ({reason}); leave it out, or train with "
            "--tokenizer smiles"
        ) from None


def draw_selfies(smiles: str, draw: np.random.Generator) -> str:
    """The SELFIES of a random SMILES of the molecule.

    Some random SMILES have none, as the library reads less than RDKit writes; the canonical one
    stands in for them.
    """
    if (molecule := read_smiles(smiles)) is not None:
        for _ in range(_REDRAWN):
            with suppress(UnreadableError):
                return write_selfies(random_smiles(molecule, draw))
    return write_selfies(smiles)


def read_selfies(text: str) -> str:
    """The SMILES of a text; the text itself if it is not SELFIES, which is no SMILES either.

    Raises:
        KetformerError: the library is not installed.
    """
    selfies = _library()
    if "".join(_TOKEN.findall(text)) != text:
        return text  # the library would read what is between the special tokens
    try:
        return str(selfies.decoder(text))
    except selfies.DecoderError:
        return text


def _library() -> Any:
    try:
        import selfies
    except ImportError:
        raise KetformerError(
            "SELFIES need the package selfies: pip install 'ketformer[selfies]'"
        ) from None
    return selfies
