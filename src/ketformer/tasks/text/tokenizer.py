"""Character and byte-pair tokenizers, as ordinary Hugging Face fast tokenizers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.fast_tokenizer import KetformerTokenizer

_PIECE = 1 << 16  # characters that a BPE reads at once for its training
# A BPE's training takes about 100 bytes of memory for each byte of the distinct words, so it reads
# at most so many, or a 16th of the text's length. Scripts without spaces have long, rare words.
_WORD_BYTES = 1 << 21
_WORD = re.compile(r"\w+|[^\w\s]+")


def char_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each distinct character of ``text``, in code point order.

    There are no unknown and no special tokens: the vocabulary is the alphabet.
    """
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    tokenizer = Tokenizer(models.WordLevel(alphabet))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _as_fast(tokenizer)


def bpe_tokenizer(
    text: str, vocab_size: int, *, step: Callable[[int, int], None] | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on ``text``; it can encode any text.

    Args:
        text: if its distinct words have more than 2 MB, and more bytes than a 16th of its
            characters, random parts with so many are used, so that memory stays bounded.
        vocab_size: tokens.
        step: called with (done, total), in characters.

    Raises:
        KetformerError: fewer tokens than the 256 bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(alphabet):
        raise KetformerError(f"a byte-level BPE needs a vocab_size of at least {len(alphabet)}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(_lines(text, step), trainer)
    return _byte_level(tokenizer)


def bpe_from(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the given tokens and merges."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    return _byte_level(tokenizer)


def _lines(text: str, step: Callable[[int, int], None] | None) -> Iterator[str]:
    """The lines of a text with their ends, in any order, until there are enough words."""
    places = list(_pieces(text))
    random.Random(0).shuffle(places)
    words: set[str] = set()
    size = done = 0
    for start, end in places:
        piece = text[start:end]
        yield from piece.splitlines(keepends=True)
        new = set(_WORD.findall(piece)) - words
        words |= new
        size += sum(len(word.encode()) for word in new)
        enough = size >= max(_WORD_BYTES, len(text) // 16)
        done = len(text) if enough else done + len(piece)
        if step:
            step(done, len(text))
        if enough:
            return


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Where pieces of whole lines begin and end; very long lines are cut before a space."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or max(text.rfind(" ", start + 1, end), 0) or end
        yield start, min(end, len(text))
        start = end


def _byte_level(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _as_fast(tokenizer)


def _as_fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return KetformerTokenizer(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
