"""Character and byte-pair tokenizers, as ordinary Hugging Face fast tokenizers."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError, UnreadableError
from ketformer.tasks.fast_tokenizer import KetformerTokenizer

# Long texts are encoded in pieces of this many characters, so that memory stays bounded.
_PIECE = 1 << 16


def char_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each distinct character of ``text``, in code point order.

    There are no unknown and no special tokens: the vocabulary is the alphabet.
    """
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    tokenizer = Tokenizer(models.WordLevel(alphabet))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _as_fast(tokenizer)


def bpe_tokenizer(text: str, vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on ``text``; it can encode any text.

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
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return _byte_level(tokenizer)


def bpe_from(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the given tokens and merges."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    return _byte_level(tokenizer)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> Tensor:
    """Token ids of a text, ``[n_tokens]`` int64.

    Raises:
        UnreadableError: a character outside a character tokenizer's alphabet, which is
            named with its position; or a text that is not valid Unicode.
    """
    backend = tokenizer.backend_tokenizer
    if not isinstance(backend.model, models.WordLevel):
        try:
            return torch.tensor(backend.encode(text).ids, dtype=torch.int64)
        except TypeError:  # lone surrogates: bytes from the command line that were not UTF-8
            raise UnreadableError("the text is not valid Unicode") from None
    alphabet = backend.get_vocab()
    if unknown := set(text) - set(alphabet):
        place, character = next((i, c) for i, c in enumerate(text) if c in unknown)
        raise UnreadableError(
            f"character {character!r} (U+{ord(character):04X}) at position {place} is not in the "
            f"model's alphabet of {len(alphabet)}"
        )
    pieces = [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]
    ids = [i for e in backend.encode_batch(pieces) for i in e.ids]
    return torch.tensor(ids, dtype=torch.int64)


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
