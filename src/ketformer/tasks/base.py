"""The interface between a task's data and training."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

Rows = Dataset[dict[str, Tensor]]


# Validation during training uses at most this many targets, evenly spread.
EVAL_TARGETS = 1 << 16


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
