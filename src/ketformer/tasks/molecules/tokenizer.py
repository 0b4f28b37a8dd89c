"""An atom-level SMILES tokenizer, as an ordinary Hugging Face fast tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError, UnreadableError
from ketformer.tasks.fast_tokenizer import KetformerTokenizer

BOS, EOS, PAD = "[CLS]", "[EOS]", "<pad>"

_QM9_TOKENS = (
    "# ( ) - 1 2 3 4 5 <pad> = C F N O [C-] [CH-] [CLS] [EOS] [N+] [N-] [NH+] [NH2+] [NH3+] [O-] "
    "[c-] [cH-] [n-] [nH+] [nH] c n o"
)
#: The vocabulary of QM9's canonical SMILES (RDKit), by token id.
QM9_VOCABULARY = tuple(_QM9_TOKENS.split())

# The special tokens look like bracket atoms, whose pattern therefore excludes them. Python and the
# tokenizers library read the patterns alike.
_PATTERN = "|".join(
    (
        r"\[(?!CLS\]|EOS\])[^\[\]]+\]",  # an atom in brackets
        r"Br|Cl|[BCNOPSFI]|[bcnosp]|\*",  # an atom without brackets
        r"%\([0-9]+\)|%[0-9][0-9]|[0-9]",  # a ring closure
        r"->|<-|[-=#$:/\\~]",  # a bond
        r"[().@+]",
    )
)
_TOKEN = re.compile(_PATTERN)


def split_smiles(smiles: str) -> list[str]:
    """The tokens of a SMILES: atoms, bonds, ring numbers, parentheses and dots.

    Raises:
        UnreadableError: an empty SMILES, or a character that belongs to no token, which
            is named with its position. Special tokens are not SMILES either.
    """
    tokens = _TOKEN.findall(smiles)
    if not tokens or "".join(tokens) != smiles:
        raise UnreadableError(_why_not(smiles))
    return tokens


def vocabulary_of(smiles: Sequence[str]) -> set[str]:
    """Every token that occurs in some SMILES.

    Raises:
        KetformerError: see :func:`split_smiles`.
    """
    return set(chain.from_iterable(map(split_smiles, smiles)))


def smiles_tokenizer(tokens: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer for these tokens, ``<pad>``, ``[CLS]`` and ``[EOS]``, numbered in text order.

    There is no unknown token. Called as in transformers, it writes ``[CLS] tokens``: a prompt,
    which a model continues. :func:`encode_smiles` writes whole molecules, with ``[EOS]``.

    Raises:
        KetformerError: a token that is not exactly one token of a SMILES.
    """
    ordinary = set(tokens) - {BOS, EOS, PAD}
    for token in sorted(ordinary):
        if not _TOKEN.fullmatch(token):
            raise KetformerError(f"{token!r} is not a SMILES token")
    vocabulary = {token: i for i, token in enumerate(sorted(ordinary | {BOS, EOS, PAD}))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PATTERN), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return KetformerTokenizer(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def encode_smiles(
    tokenizer: PreTrainedTokenizerFast, smiles: Sequence[str], length: int | None = None
) -> Tensor:
    """Token ids ``[n_smiles, length]`` int64: ``[CLS]``, the tokens, ``[EOS]``, then padding.

    Args:
        tokenizer: from :func:`smiles_tokenizer`.
        smiles: one row each.
        length: length of a row; by default that of the longest.

    Raises:
        UnreadableError: see :func:`split_smiles`; or a token outside the vocabulary or a
            SMILES longer than ``length``, which is named.
    """
    vocabulary = tokenizer.get_vocab()
    bos, eos, pad = vocabulary[BOS], vocabulary[EOS], vocabulary[PAD]
    rows = []
    for text in smiles:
        tokens = split_smiles(text)
        try:
            rows.append([bos, *map(vocabulary.__getitem__, tokens), eos])
        except KeyError:
            raise UnreadableError(_what_is_unknown(text, tokens, vocabulary)) from None
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    longest = int(lengths.max()) if rows else 2  # [CLS] and [EOS] always fit
    if length is None:
        length = longest
    elif longest > length:
        raise UnreadableError(
            f"{smiles[int(lengths.argmax())]!r} has {longest} tokens with {BOS} and {EOS}, "
            f"but the length is {length}"
        )
    # One assignment for all rows: a tensor for each would take longer than everything else.
    ids = torch.full((len(rows), length), pad, dtype=torch.int64)
    ids[torch.arange(length) < lengths[:, None]] = torch.tensor(
        list(chain.from_iterable(rows)), dtype=torch.int64
    )
    return ids


def decode_smiles(tokenizer: PreTrainedTokenizerFast, ids: Tensor) -> list[str]:
    """SMILES of ``[n_rows, n_tokens]`` ids: the text before the first ``[EOS]``.

    A leading ``[CLS]`` is dropped. Any other special token is written out, so that no
    chemistry toolkit mistakes a malformed output for a molecule.
    """
    token_of = {i: token for token, i in tokenizer.get_vocab().items()}
    texts = ("".join(map(token_of.__getitem__, row)) for row in ids.tolist())
    # No other token has a bracket inside, so the text of [EOS] is always the token.
    return [text.split(EOS, 1)[0].removeprefix(BOS) for text in texts]


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


def _what_is_unknown(smiles: str, tokens: list[str], vocabulary: dict[str, int]) -> str:
    """A message about the first token of a SMILES that the vocabulary lacks."""
    first = next(i for i, token in enumerate(tokens) if token not in vocabulary)
    place = sum(map(len, tokens[:first]))
    return (
        f"token {tokens[first]!r} at position {place} of {smiles!r} is not in the vocabulary "
        f"of {len(vocabulary)}"
    )
