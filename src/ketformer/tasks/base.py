"""The interface between a task's data and training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerFast

from ketformer.errors import KetformerError

_NAMED = 20  # unknown tokens in a message

# Validation during training uses at most this many targets, evenly spread.
EVAL_TARGETS = 1 << 16


def count_kept(count: int, fraction: float) -> int:
    """How many of a training part are trained on, at least one.

    Raises:
        KetformerError: the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise KetformerError(f"train_fraction must be above 0 and at most 1, got {fraction}")
    return max(round(fraction * count), 1)


@dataclass(frozen=True)
class Trained:
    """What a trained model brings to the data that it is trained on further.

    Attributes:
        name: of its run, for messages.
        tokenizer: its tokenizer.
        conditions: names of its conditions, which the data may lack.
        add_tokens: whether tokens that it does not know are added, and not refused.
    """

    name: str
    tokenizer: PreTrainedTokenizerFast
    conditions: tuple[str, ...] = ()
    add_tokens: bool = False

    def tokenizer_for(
        self,
        tokens: Iterable[str],
        make: Callable[[Iterable[str]], PreTrainedTokenizerFast],
        data: str,
    ) -> PreTrainedTokenizerFast:
        """Its tokenizer, or one that knows more.

        Args:
            tokens: all those of the data.
            make: makes a tokenizer for tokens.
            data: their name.

        Raises:
            KetformerError: naming the tokens that it does not know, if none are to be added.
        """
        vocabulary = self.tokenizer.get_vocab()
        if not (new := sorted(set(tokens) - set(vocabulary))):
            return self.tokenizer
        if not self.add_tokens:
            named = ", ".join(map(repr, new[:_NAMED])) + (", …" if len(new) > _NAMED else "")
            raise KetformerError(
                f"{data} has tokens that {self.name} does not know: {named}; leave them out of "
                "the data, or add them to the model with --add_tokens true"
            )
        return make([*vocabulary, *new])


class Rows(Dataset[BatchEncoding]):
    """Rows that are made a whole batch at a time, which is much faster than row by row.

    A row alone, as torch's DataLoader takes it, works with transformers' Trainer and its default
    collator: ``labels`` are the targets that Trainer counts and ``shift_labels`` those of the loss.
    """

    def __len__(self) -> int:
        """The number of rows."""
        raise NotImplementedError  # abstract

    def begin_epoch(self, epoch: int) -> None:
        """Called before each epoch of training, from 0; rows that vary change here."""

    def batch(self, indices: list[int]) -> dict[str, Tensor]:
        """These rows: ``input_ids`` and ``shift_labels`` ``[B, T]``, and other inputs."""
        raise NotImplementedError  # abstract

    def __getitem__(self, index: int) -> BatchEncoding:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[BatchEncoding]:
        """The rows of a batch, all of one length."""
        batch = self.batch(indices)
        batch["labels"] = batch["shift_labels"]
        # Not dictionaries, from which Trainer would remove the targets: it looks for their name in
        # the signature of `forward`, where transformers' models do not have it either.
        columns = zip(*batch.values(), strict=True)
        return [BatchEncoding(dict(zip(batch, column, strict=True))) for column in columns]


class WholeBatches(Dataset[Any]):
    """Rows for a DataLoader that makes batches whole; its collator gets what ``batch`` returns."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A row alone, for Trainer, which groups rows by their lengths if it is asked to."""
        if index >= len(self):
            raise IndexError(index)  # ends an iteration
        return {name: values[0] for name, values in self.rows.batch([index]).items()}

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A whole batch."""
        return self.rows.batch(indices)


class Prepared(Protocol):
    """What training needs from a task's data."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The data's tokenizer."""

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256`` of the data, for the manifest."""

    @property
    def model_keys(self) -> dict[str, Any]:
        """Configuration keys that depend on the data."""

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """Training and validation rows for a model with that context."""
