"""Error rates of texts, and their lengths in characters."""

from __future__ import annotations

import jiwer
import torch
from tokenizers import models
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode


def error_rates(references: list[str], hypotheses: list[str]) -> tuple[float, float]:
    """Character and word error rate: edits over reference length, summed over all texts (jiwer).

    Spaces and line breaks count as characters and separate words. Texts without words
    count only towards the character rate. Insertions can bring either rate above 1.
    """
    characters = jiwer.process_characters(
        references,
        hypotheses,
        reference_transform=_CHARACTERS,
        hypothesis_transform=_CHARACTERS,
    )
    worded = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r.split()]
    words = jiwer.process_words(
        [" ".join(r.split()) for r, _ in worded], [" ".join(h.split()) for _, h in worded]
    )
    return characters.cer, words.wer


def count_characters(tokenizer: PreTrainedTokenizerFast, ids: Tensor) -> int:
    """How many characters of a text begin in these tokens, of any shape.

    Byte pairs can cut a character. It counts once, where its first byte is, so that the
    characters of consecutive windows add up to those of the text.
    """
    if isinstance(tokenizer.backend_tokenizer.model, models.WordLevel):
        return ids.numel()
    begun = torch.zeros(len(tokenizer), dtype=torch.int64)
    for token, i in tokenizer.get_vocab().items():
        begun[i] = sum(byte not in _CONTINUING for byte in token)
    return int(begun[ids].sum())


# The bytes 10xxxxxx, which continue a character in UTF-8, as byte-level tokens write them.
_CONTINUING = {bytes_to_unicode()[byte] for byte in range(0b10000000, 0b11000000)}

# jiwer's own default strips the texts; white space is part of what a character model predicts.
_CHARACTERS = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
