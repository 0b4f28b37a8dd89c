"""A Hugging Face fast tokenizer whose errors say what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast

from ketformer.errors import KetformerError, UnreadableError

_NO_PADDING = (
    "this tokenizer has no padding token; add one: "
    "tokenizer.add_special_tokens({'pad_token': '<pad>'}), then "
    "model.resize_token_embeddings(len(tokenizer))"
)
_NO_END = (
    "this tokenizer has no token that ends a text; name one of its vocabulary, such as "
    "tokenizer.eos_token = '\\n', and save the tokenizer"
)


class KetformerTokenizer(PreTrainedTokenizerFast):  # type: ignore[misc]
    """A fast tokenizer without an unknown token.

    ``AutoTokenizer`` loads saved ones as this class.

    Raises:
        UnreadableError: when called with a text that has an unknown token, which is named
            with its position, or that is not valid Unicode.
        KetformerError: when asked to pad without a padding token, or to decode the id of an end
            of text that it does not have.
    """

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> BatchEncoding:
        try:
            return super()._encode_plus(text, *args, **kwargs)
        except Exception:  # the tokenizers library raises bare Exception
            for each in _texts((text, args[:1], kwargs.get("text_pair"))):
                if complaint := self._complaint_about(each):
                    raise UnreadableError(complaint) from None
            raise

    def _complaint_about(self, text: str) -> str | None:
        """Why a text cannot be encoded, or None if it can."""
        if any("\ud800" <= character <= "\udfff" for character in text):
            return "the text is not valid Unicode"
        vocabulary = self.get_vocab()
        backend = self.backend_tokenizer
        # The library takes added tokens out of a text before it splits the rest.
        added = "|".join(re.escape(token) for token in self.added_tokens_encoder) or r"(?!)"
        place = 0
        for part in re.split(f"({added})", text):
            if part not in self.added_tokens_encoder:
                for token, (start, _) in backend.pre_tokenizer.pre_tokenize_str(part):
                    if token not in vocabulary:
                        return (
                            f"{unknown(token)} at position {place + start} is not in the "
                            f"vocabulary of {len(vocabulary)}"
                        )
            place += len(part)
        return None

    def _get_padding_truncation_strategies(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._get_padding_truncation_strategies(*args, **kwargs)
        except ValueError as error:
            if self.pad_token is None and "padding token" in str(error):
                raise KetformerError(_NO_PADDING) from None
            raise

    def _decode(self, token_ids: Any, *args: Any, **kwargs: Any) -> str:
        if token_ids is None:  # eos_token_id, which lm-evaluation-harness decodes
            raise KetformerError(_NO_END)
        text: str = super()._decode(token_ids, *args, **kwargs)
        return text


def unknown(token: str) -> str:
    """How messages name an unknown token: a single character with its code point."""
    return f"character {token!r} (U+{ord(token):04X})" if len(token) == 1 else f"token {token!r}"


def _texts(nested: Any) -> Iterator[str]:
    """The texts in a text, a list of texts, a list of pairs of them, and so on."""
    if isinstance(nested, str):
        yield nested
    elif isinstance(nested, list | tuple):
        for part in nested:
            yield from _texts(part)
