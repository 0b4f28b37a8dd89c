"""Splits of a text, and windows of it as a data set for Trainer."""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.tasks.base import Rows

#: The splits by name, and what they mean.
SPLITS = {
    "standard": "contiguous 90 / 5 / 5 % for training, validation and test",
    "published": "first 64 % for training, last 4 % for validation and test (arXiv 2603.03318)",
}


def split_text(text: str, split: str) -> dict[str, str]:
    """Split a text into ``train``, ``validation`` and ``test`` parts.

    ``published`` follows the released code of arXiv 2603.03318, which splits 80/20
    twice: it trains on the first 64 % and tests on the last 4 %, its only held-out
    part, so validation and test are the same here.

    Raises:
        KetformerError: an unknown split.
    """
    n = len(text)
    if split == "standard":
        first, second = int(0.9 * n), int(0.95 * n)
        return {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    if split == "published":
        head = text[: int(0.8 * n)]
        tail = text[int(0.8 * n) :]
        held_out = tail[int(0.8 * len(tail)) :]
        return {"train": head[: int(0.8 * len(head))], "validation": held_out, "test": held_out}
    raise KetformerError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")


class TextWindows(Rows):
    """Windows of ``context`` tokens, with the following token at each position as target.

    A batch is two gathers from one tensor, so that loading stays off the critical path.

    Args:
        tokens: ``[n_tokens]`` ids, of any integer type; batches are int64.
        context: tokens in a window.
        stride: tokens between windows; 1 for training, ``context`` to see each target once.
        limit: at most that many windows, evenly spaced over the text.

    Raises:
        KetformerError: the text is shorter than one window and its last target.
    """

    def __init__(self, tokens: Tensor, context: int, stride: int, limit: int | None = None):
        if len(tokens) < context + 1:
            raise KetformerError(
                f"the text has {len(tokens)} tokens, but a context of {context} "
                f"needs at least {context + 1}"
            )
        self.tokens = tokens
        self.context = context
        self.stride = stride
        self.count = len(range(0, len(tokens) - context, stride))
        self.kept: Tensor | None = None  # the windows within the limit
        if limit is not None and limit < self.count:
            self.kept = torch.linspace(0, self.count - 1, limit).long()

    def __len__(self) -> int:
        return self.count if self.kept is None else len(self.kept)

    def batch(self, indices: list[int]) -> dict[str, Tensor]:
        """These windows and their targets, ``[B, context]`` each."""
        chosen = torch.tensor(indices)
        if self.kept is not None:
            chosen = self.kept[chosen]
        window = (self.stride * chosen)[:, None] + torch.arange(self.context + 1)
        tokens = self.tokens[window].long()
        return {"input_ids": tokens[:, :-1], "shift_labels": tokens[:, 1:]}

    def all(self) -> dict[str, Tensor]:
        """Every window as one batch."""
        return self.batch(list(range(len(self))))
