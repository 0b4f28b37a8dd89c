"""Token ids of a text of any length, in pieces, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import UnreadableError

#: Seconds until a bar appears: most texts are encoded at once.
BAR_DELAY = 0.3
_PIECE = 1 << 16  # characters encoded at once
_MARGIN = 64  # tokens at the end of a piece that later text may still change
_Pieces = Iterator[tuple[int, np.ndarray]]  # (characters done, the next ids)


def encode(
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    *,
    dtype: torch.dtype = torch.int64,
    step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Token ids of a text, ``[n_tokens]``: the same as ``tokenizer(text).input_ids``.

    Args:
        tokenizer: of characters, or a byte-level BPE.
        text: of any length.
        dtype: of the ids; ``torch.int32`` halves the memory of a long text.
        step: called with (done, total), in characters.

    Raises:
        UnreadableError: a character outside a character tokenizer's alphabet, which is
            named with its position; or a text that is not valid Unicode.
    """
    backend = tokenizer.backend_tokenizer
    by_character = isinstance(backend.model, models.WordLevel)
    ids = bytearray()  # grows in place, where a list of tensors would have to be copied
    for done, piece in (_characters if by_character else _byte_pairs)(backend, text):
        ids += piece.astype(np.int32 if dtype == torch.int32 else np.int64).data
        if step:
            step(done, len(text))
    return torch.frombuffer(ids, dtype=dtype) if ids else torch.empty(0, dtype=dtype)


def _characters(backend: Tokenizer, text: str) -> _Pieces:
    """A table look-up for each code point."""
    alphabet = {ord(token): i for token, i in backend.get_vocab().items() if len(token) == 1}
    table = np.full(max(alphabet, default=-1) + 2, -1, dtype=np.int32)  # the last: any beyond
    table[list(alphabet)] = list(alphabet.values())
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        points = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids = table[np.minimum(points, len(table) - 1)]
        if (ids < 0).any():
            place = int((ids < 0).argmax())
            raise UnreadableError(
                f"character {piece[place]!r} (U+{points[place]:04X}) at position {start + place} "
                f"is not in the model's alphabet of {len(alphabet)}"
            )
        yield start + len(piece), ids


def _byte_pairs(backend: Tokenizer, text: str) -> _Pieces:
    """Pieces cut where the whole text has a boundary between tokens, too."""
    start, size = 0, _PIECE
    while start < len(text):
        piece = _encoded(backend, text[start : start + size])
        if start + size >= len(text):
            yield len(text), np.array(piece.ids)
            return
        kept = _settled(backend, piece, text, start)
        if not kept:
            size *= 2
            continue
        start, size = start + piece.offsets[kept][0], _PIECE
        yield start, np.array(piece.ids[:kept])


def _settled(backend: Tokenizer, piece: Encoding, text: str, start: int) -> int:
    """How many tokens of a piece of the text, from ``start``, stay whatever follows; 0 if unknown.

    Merges do not cross the words that the pre-tokenizer makes. The last two words of a piece can
    still change: ``'r`` is two words, ``'re`` is one.

    In a piece that is a single word, such as a DNA sequence, a token is settled if encoding from
    the next one on gives that next one again: a sequence of tokens is a BPE's own if each
    neighbouring two are.
    """
    words, places = piece.word_ids, piece.offsets
    if last := words[-1]:
        return words.index(max(last - 1, 1))
    count = len(piece) - _MARGIN
    while count > 0:
        if places[count][0] < places[count - 1][1]:  # within a character
            count -= 1
            continue
        begin = start + places[count][0]
        again = _encoded(backend, text[begin : begin + places[-1][1]])
        if again.ids[0] == piece.ids[count]:
            return count
        count //= 2
    return 0


def _encoded(backend: Tokenizer, text: str) -> Encoding:
    try:
        return backend.encode(text)
    except TypeError:  # lone surrogates: bytes from the command line that were not UTF-8
        raise UnreadableError("the text is not valid Unicode") from None
