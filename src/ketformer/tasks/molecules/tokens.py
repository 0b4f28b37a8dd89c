"""The tokens of a SMILES: atoms, bonds, ring numbers, parentheses and dots."""

from __future__ import annotations

import re

from ketformer.errors import UnreadableError

EOS, PAD = "[EOS]", "<pad>"
#: The begin token of models that write SMILES.
BOS = "[CLS]"

#: What a token looks like. The special tokens look like bracket atoms, which therefore exclude
#: them. Python and the tokenizers library read the pattern alike.
PATTERN = "|".join(
    (
        r"\[(?!CLS\]|EOS\])[^\[\]]+\]",  # an atom in brackets
        r"Br|Cl|[BCNOPSFI]|[bcnosp]|\*",  # an atom without brackets
        r"%\([0-9]+\)|%[0-9][0-9]|[0-9]",  # a ring closure
        r"->|<-|[-=#$:/\\~]",  # a bond
        r"[().@+]",
    )
)
_TOKEN = re.compile(PATTERN)


def split_smiles(smiles: str) -> list[str]:
    """The tokens of a SMILES.

    Raises:
        UnreadableError: an empty SMILES, or a character that belongs to no token, which
            is named with its position. Special tokens are not SMILES either.
    """
    tokens = _TOKEN.findall(smiles)
    if not tokens or "".join(tokens) != smiles:
        raise UnreadableError(_why_not(smiles))
    return tokens


def _why_not(smiles: str) -> str:
    """Why a text cannot be split into tokens."""
    if not smiles:
        return "an empty SMILES has no tokens"
    place = 0
    while match := _TOKEN.match(smiles, place):
        place = match.end()
    for special in (BOS, EOS, PAD):
        if smiles.startswith(special, place):
            return f"special token {special} at position {place} of {smiles!r} is not SMILES"
    character = smiles[place]
    return (
        f"character {character!r} (U+{ord(character):04X}) at position {place} of {smiles!r} "
        "is not SMILES"
    )
