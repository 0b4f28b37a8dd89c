"""Tokenizers of molecules, as ordinary Hugging Face fast tokenizers: of SMILES, atom by atom."""

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
from ketformer.tasks.molecules.notations import NOTATIONS, Notation, notation_of
from ketformer.tasks.molecules.tokens import BOS as BOS, EOS, PAD, split_smiles as split_smiles

_QM9_TOKENS = (
    "# ( ) - 1 2 3 4 5 <pad> = C F N O [C-] [CH-] [CLS] [EOS] [N+] [N-] [NH+] [NH2+] [NH3+] [O-] "
    "[c-] [cH-] [n-] [nH+] [nH] c n o"
)
#: The vocabulary of QM9's canonical SMILES (RDKit), by token id.
QM9_VOCABULARY = tuple(_QM9_TOKENS.split())


def vocabulary_of(texts: Sequence[str], notation: Notation = NOTATIONS["smiles"]) -> set[str]:
    """Every token that occurs in some text.

    Raises:
        KetformerError: see :func:`split_smiles`.
    """
    return set(chain.from_iterable(map(notation.split, texts)))


def smiles_tokenizer(
    tokens: Iterable[str], notation: Notation = NOTATIONS["smiles"]
) -> PreTrainedTokenizerFast:
    """A tokenizer for these tokens, ``<pad>``, begin and end, numbered in text order.

    There is no unknown token. Called as in transformers, it writes ``[CLS] tokens``: a prompt,
    which a model continues. :func:`encode_smiles` writes whole molecules, with ``[EOS]``.

    Args:
        tokens: of the notation; special tokens among them are left out.
        notation: how the tokenizer's models write molecules; the begin token says which.

    Raises:
        KetformerError: a token that is not exactly one token of the notation.
    """
    begin = notation.begin
    ordinary = set(tokens) - {begin, EOS, PAD}
    for token in sorted(ordinary):
        if not re.fullmatch(notation.pattern, token):
            raise KetformerError(f"{token!r} is not a {notation.title} token")
    vocabulary = {token: i for i, token in enumerate(sorted(ordinary | {begin, EOS, PAD}))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(notation.pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])]
    )
    return KetformerTokenizer(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def encode_smiles(
    tokenizer: PreTrainedTokenizerFast, smiles: Sequence[str], length: int | None = None
) -> Tensor:
    """Token ids of molecules, written in the tokenizer's notation; see :func:`encode_texts`.

    Raises:
        UnreadableError: see :func:`encode_texts`; or a SMILES that cannot be written so.
    """
    return encode_texts(tokenizer, [*map(notation_of(tokenizer).write, smiles)], length)


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int | None = None
) -> Tensor:
    """Token ids ``[n_texts, length]`` int64: ``[CLS]``, the tokens, ``[EOS]``, then padding.

    Args:
        tokenizer: from :func:`smiles_tokenizer`.
        texts: in its notation, one row each.
        length: length of a row; by default that of the longest.

    Raises:
        UnreadableError: see :func:`split_smiles`; or a token outside the vocabulary or a
            text longer than ``length``, which is named.
    """
    vocabulary, notation = tokenizer.get_vocab(), notation_of(tokenizer)
    bos, eos, pad = vocabulary[notation.begin], vocabulary[EOS], vocabulary[PAD]
    rows = []
    for text in texts:
        tokens = notation.split(text)
        try:
            rows.append([bos, *map(vocabulary.__getitem__, tokens), eos])
        except KeyError:
            raise UnreadableError(_what_is_unknown(text, tokens, vocabulary)) from None
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    longest = int(lengths.max()) if rows else 2  # begin and end always fit
    if length is None:
        length = longest
    elif longest > length:
        raise UnreadableError(
            f"{texts[int(lengths.argmax())]!r} has {longest} tokens with {notation.begin} and "
            f"{EOS}, but the length is {length}"
        )
    # One assignment for all rows: a tensor for each would take longer than everything else.
    ids = torch.full((len(rows), length), pad, dtype=torch.int64)
    ids[torch.arange(length) < lengths[:, None]] = torch.tensor(
        list(chain.from_iterable(rows)), dtype=torch.int64
    )
    return ids


def decode_smiles(tokenizer: PreTrainedTokenizerFast, ids: Tensor) -> list[str]:
    """SMILES of ``[n_rows, n_tokens]`` ids: what is written before the first ``[EOS]``.

    A leading begin token is dropped. Any other special token is written out, so that no
    chemistry toolkit mistakes a malformed output for a molecule.
    """
    notation = notation_of(tokenizer)
    token_of = {i: token for token, i in tokenizer.get_vocab().items()}
    texts = ("".join(map(token_of.__getitem__, row)) for row in ids.tolist())
    # No other token has a bracket inside, so the text of [EOS] is always the token.
    return [notation.read(text.split(EOS, 1)[0].removeprefix(notation.begin)) for text in texts]


def _what_is_unknown(text: str, tokens: list[str], vocabulary: dict[str, int]) -> str:
    """A message about the first token of a text that the vocabulary lacks."""
    first = next(i for i, token in enumerate(tokens) if token not in vocabulary)
    place = sum(map(len, tokens[:first]))
    return (
        f"token {tokens[first]!r} at position {place} of {text!r} is not in the vocabulary "
        f"of {len(vocabulary)}"
    )
