"""Losses on held-out rows, for both text and molecules.

The cross entropy of a model that sees the future means nothing. The cross entropy with the prefix
alone cannot be fooled, so both are always measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

#: Rows in a batch: the published size, on which models that scale by the batch depend.
BATCH = 256
Step = Callable[[int, int], None]  # called with (done, total)


class HeldOut(Protocol):
    """Rows of equal length, with a target at every position."""

    def __len__(self) -> int:
        """The number of rows."""

    def batch(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: ``input_ids`` and ``shift_labels`` ``[B, T]``, and other inputs of the model."""


@dataclass(frozen=True)
class TeacherForced:
    """A model's loss and prediction for each target, given the true row.

    Attributes:
        losses: ``[N, T]``, nats, float64.
        predictions: ``[N, T]``, the most likely tokens.
        targets: ``[N, T]``.
    """

    losses: Tensor
    predictions: Tensor
    targets: Tensor


@torch.inference_mode()
def teacher_forced(
    model: PreTrainedModel, rows: HeldOut, batch_size: int = BATCH, step: Step | None = None
) -> TeacherForced:
    """Losses and predictions at every position of every row, with one pass per row.

    Args:
        model: in evaluation mode.
        rows: windows of a text, or padded molecules.
        batch_size: rows in a pass.
        step: called with (done, total).
    """
    losses, predictions, targets = [], [], []
    for batch in _batches(model, rows, len(rows), batch_size, step):
        target = batch.pop("shift_labels")
        logits = model(**batch, use_cache=False).logits.float()
        losses.append(F.cross_entropy(logits.mT, target, reduction="none").double().cpu())
        predictions.append(logits.argmax(-1).cpu())
        targets.append(target.cpu())
    return TeacherForced(torch.cat(losses), torch.cat(predictions), torch.cat(targets))


@torch.inference_mode()
def prefix_losses(
    model: PreTrainedModel,
    rows: HeldOut,
    batch_size: int = BATCH,
    step: Step | None = None,
    *,
    limit: int | None = None,
) -> Tensor:
    """Loss of each target when the model is given only the tokens before it.

    Every target costs a forward pass over its prefix. For a causal model this equals
    :func:`teacher_forced` up to rounding; for a leaky one it is the loss that matters for
    generation.

    Args:
        model: in evaluation mode.
        rows: windows of a text, or padded molecules.
        batch_size: rows in a pass.
        step: called with (done, total).
        limit: use only the first rows, at most that many.

    Returns:
        ``[N, T]``, nats, float64.
    """
    count = len(rows) if limit is None else min(limit, len(rows))
    losses = []
    for batch in _batches(model, rows, count, batch_size, step):
        ids, target = batch.pop("input_ids"), batch.pop("shift_labels")
        columns = []
        for length in range(1, ids.shape[1] + 1):
            out = model(ids[:, :length], **batch, use_cache=False, logits_to_keep=1)
            last = out.logits[:, -1].float()
            columns.append(F.cross_entropy(last, target[:, length - 1], reduction="none"))
        losses.append(torch.stack(columns, dim=1).double().cpu())
    return torch.cat(losses)


def total_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the losses over all targets except those of -100, in nats, float64.

    Args:
        logits: ``[B, T, V]``.
        targets: ``[B, T]``.
    """
    return F.cross_entropy(logits.double().flatten(0, 1), targets.flatten(), reduction="sum")


def _batches(
    model: PreTrainedModel, rows: HeldOut, count: int, batch_size: int, step: Step | None
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, count, batch_size):
        end = min(start + batch_size, count)
        batch = rows.batch(list(range(start, end)))
        yield {key: value.to(model.device) for key, value in batch.items()}
        if step:
            step(end, count)
