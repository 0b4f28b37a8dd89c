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
from transformers import DynamicCache, PreTrainedModel

#: Rows in a batch: the published size, on which models that scale by the batch depend.
BATCH = 256
Step = Callable[[int, int], None]  # called with (done, total)
# Numbers that a cache of keys and values may hold: 256 MB of float32.
_CACHED = 2**26
# Largest difference in nats between the two ways to compute a prefix loss: float32 rounds by less.
_ROUNDING = 1e-3


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

    For a causal model this equals :func:`teacher_forced` up to rounding; for a leaky one it is the
    loss that matters for generation.

    A model with a cache is given each row token by token, so that nothing later than a token can
    reach it, and keeps keys and values as in generation. Some prefixes of the first batch are also
    computed from scratch. If one of them has another loss, as in a model that scales by its
    batch, or where a mechanism is not as causal as it says, all are computed from scratch: each
    target then costs a forward pass over its prefix.

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
    cached: bool = getattr(model, "can_cache", False)
    losses: list[Tensor] = []
    for batch in _batches(model, rows, count, batch_size, step):
        inputs = {key: value for key, value in batch.items() if key != "shift_labels"}
        targets = batch["shift_labels"]
        if cached:
            found = _token_by_token(model, inputs, targets)
            cached = bool(losses) or _as_from_scratch(found, model, inputs, targets)
        if not cached:
            lengths = range(1, targets.shape[1] + 1)
            found = torch.stack([_at_end(model, inputs, targets, n) for n in lengths], dim=1)
        losses.append(found.double().cpu())
    return torch.cat(losses)


def _token_by_token(model: PreTrainedModel, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    """The losses ``[B, T]``, with a cache, of so many rows at a time that it stays small."""
    rows, length = targets.shape
    config = model.config
    numbers = 2 * length * config.hidden_size * config.num_hidden_layers
    losses = torch.empty_like(targets, dtype=torch.float32)
    for start in range(0, rows, max(_CACHED // numbers, 1)):
        some = slice(start, start + max(_CACHED // numbers, 1))
        given = {key: value[some] for key, value in inputs.items()}
        ids, cache = given.pop("input_ids"), DynamicCache()
        for at in range(length):
            out = model(ids[:, at : at + 1], **given, past_key_values=cache, use_cache=True)
            last = out.logits[:, -1].float()
            losses[some, at] = F.cross_entropy(last, targets[some, at], reduction="none")
    return losses


def _at_end(
    model: PreTrainedModel, inputs: dict[str, Tensor], targets: Tensor, length: int
) -> Tensor:
    """The loss ``[B]`` of the target after the first ``length`` tokens, from scratch."""
    given = {**inputs, "input_ids": inputs["input_ids"][:, :length]}
    out = model(**given, use_cache=False, logits_to_keep=1)
    return F.cross_entropy(out.logits[:, -1].float(), targets[:, length - 1], reduction="none")


def _as_from_scratch(
    losses: Tensor, model: PreTrainedModel, inputs: dict[str, Tensor], targets: Tensor
) -> bool:
    """Whether a short, a middling and the longest prefix have these losses."""
    longest = targets.shape[1]
    return all(
        torch.allclose(
            losses[:, n - 1], _at_end(model, inputs, targets, n), rtol=_ROUNDING, atol=_ROUNDING
        )
        for n in {min(2, longest), (longest + 1) // 2, longest}
    )


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
