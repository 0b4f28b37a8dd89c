"""Tokenizers of run directories, rebuilt from the saved vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.notations import notation_with
from ketformer.tasks.molecules.tokenizer import smiles_tokenizer
from ketformer.tasks.text import bpe_from, char_tokenizer
from ketformer.utils.mappings import read_json


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a run directory: of characters, of molecules, or a byte-level BPE.

    Only the vocabulary and the merges are read. Whatever else a ``tokenizer.json`` can hold
    (patterns that take forever, tables that crash the process) and a
    ``tokenizer_config.json`` can name (classes, code) is ignored.

    Raises:
        KetformerError: there is no tokenizer, or Ketformer did not write it.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise KetformerError(f"{folder}: no tokenizer.json, so this is not a finished run")
    saved = read_json(path).get("model")
    try:
        return _made_of(saved)
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = " ".join(str(error).split())[:200]
        raise KetformerError(f"{path}: the tokenizer cannot be read ({reason})") from None


def _made_of(saved: Any) -> PreTrainedTokenizerFast:
    if not isinstance(saved, dict) or saved.get("type") not in {"WordLevel", "BPE"}:
        raise KetformerError("neither a word-level tokenizer nor a BPE")
    vocabulary = saved.get("vocab")
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise KetformerError("no vocabulary")
    if sorted(map(repr, vocabulary.values())) != sorted(map(repr, range(len(vocabulary)))):
        raise KetformerError("its tokens are not numbered from 0")
    if saved["type"] == "BPE":
        if lacking := set(pre_tokenizers.ByteLevel.alphabet()) - set(vocabulary):
            raise KetformerError(f"{len(lacking)} bytes have no token")
        return bpe_from(vocabulary, [(a, b) for a, b in saved["merges"]])
    if notation := notation_with(vocabulary):
        tokenizer = smiles_tokenizer(vocabulary, notation)
    elif all(len(token) == 1 for token in vocabulary):
        tokenizer = char_tokenizer("".join(vocabulary))
    else:
        raise KetformerError("neither characters nor SMILES")
    if tokenizer.get_vocab() != vocabulary:
        raise KetformerError("its tokens are numbered out of order")
    return tokenizer
