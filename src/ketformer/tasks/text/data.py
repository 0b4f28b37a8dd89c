"""A text ready for training: split and tokenised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.base import EVAL_TARGETS, Rows, Trained, count_kept
from ketformer.tasks.datasets import Text, load_text
from ketformer.tasks.text import TextWindows, bpe_tokenizer, char_tokenizer, encode, split_text
from ketformer.tasks.text.encoding import BAR_DELAY
from ketformer.utils.progress import Bars


@dataclass(frozen=True)
class TextData:
    """A text ready for training: where it came from, its tokenizer, its parts as int32 ids."""

    source: Text
    tokenizer: PreTrainedTokenizerFast
    parts: dict[str, Tensor]

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256``."""
        return {"name": self.source.name, "sha256": self.source.sha256}

    @property
    def model_keys(self) -> dict[str, Any]:
        """The size of the vocabulary."""
        return {"vocab_size": len(self.tokenizer)}

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """Every window of the training part; adjacent windows of the validation part."""
        limit = max(EVAL_TARGETS // context, 1)
        return (
            TextWindows(self.parts["train"], context, stride=1),
            TextWindows(self.parts["validation"], context, stride=context, limit=limit),
        )


def prepare_text(
    data: str,
    *,
    split: str = "standard",
    train_fraction: float = 1.0,
    tokenizer: str = "char",
    vocab_size: int | None = None,
    progress: bool = True,
    encoding: str | None = None,
    trained: Trained | None = None,
) -> TextData:
    """Load, split and tokenise a text.

    A character tokenizer knows the alphabet of the whole text, so that no part has an unknown
    character; a BPE is trained on the training part alone.

    Args:
        data: a data set's name or a path.
        split: see :data:`~ketformer.tasks.text.SPLITS`.
        train_fraction: how much of the training part is kept, from its beginning.
        tokenizer: ``char`` or ``bpe``.
        vocab_size: tokens of a BPE; 1,024 by default.
        progress: show bars on standard error.
        encoding: of a file; recognised if not given.
        trained: a model to train further, whose tokenizer is kept.

    Raises:
        KetformerError: unknown data, split, tokenizer or token, or a wrong ``train_fraction``.
    """
    source = load_text(data, encoding)
    texts = split_text(source.text, split)
    texts["train"] = texts["train"][: count_kept(len(texts["train"]), train_fraction)]
    with Bars(progress, "character", BAR_DELAY) as bars:
        if trained is not None and tokenizer == "char":
            made = trained.tokenizer_for(set(source.text), _of_characters, source.name)
        elif trained is not None:
            made = trained.tokenizer  # of bytes, so it knows any text
        elif tokenizer == "char":
            made = char_tokenizer(source.text)
        elif tokenizer == "bpe":
            learning = bars("learning byte pairs")
            made = bpe_tokenizer(texts["train"], vocab_size or 1024, step=learning)
        else:
            raise KetformerError(f"unknown tokenizer {tokenizer!r}; known: char, bpe")
        parts = {
            name: encode(made, text, dtype=torch.int32, step=bars(f"encoding {name}"))
            for name, text in texts.items()
        }
    return TextData(source, made, parts)


def _of_characters(characters: Iterable[str]) -> PreTrainedTokenizerFast:
    return char_tokenizer("".join(characters))
