"""What training needs of a task's data."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

Rows = Dataset[dict[str, Tensor]]


# Validation during training looks at this many targets at most, evenly spread.
EVAL_TARGETS = 1 << 16


class Prepared(Protocol):
    """What training needs of a task's data."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Of the data's tokens."""

    @property
    def facts(self) -> dict[str, Any]:
        """``name`` and ``sha256`` of the data, for the manifest."""

    @property
    def model_keys(self) -> dict[str, Any]:
        """Configuration keys that the data decides."""

    def training_sets(self, context: int) -> tuple[Rows, Rows]:
        """Training and validation rows for a model with that context."""
