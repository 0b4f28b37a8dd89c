"""How good a language model is, and how much of that is real.

The cross entropy of a model that sees the future says nothing; the one with the
prefix alone cannot be fooled, so both are always measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import jiwer
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ketformer.tasks.text.windows import TextWindows

Step = Callable[[int, int], None]  # called with (done, total)


@dataclass(frozen=True)
class TeacherForced:
    """What a model says of each target when it is given the true window.

    Attributes:
        losses: ``[windows, context]``, nats.
        predictions: ``[windows, context]``, the most likely tokens.
        targets: ``[windows, context]``.
    """

    losses: Tensor
    predictions: Tensor
    targets: Tensor


@torch.inference_mode()
def teacher_forced(
    model: PreTrainedModel, windows: TextWindows, batch_size: int = 256, step: Step | None = None
) -> TeacherForced:
    """Losses and predictions at every position of every window, in one pass each."""
    losses, predictions, targets = [], [], []
    for batch in _batches(windows, batch_size, step):
        ids, target = (batch[key].to(model.device) for key in ("input_ids", "shift_labels"))
        logits = model(ids, use_cache=False).logits.float()
        losses.append(F.cross_entropy(logits.mT, target, reduction="none").cpu())
        predictions.append(logits.argmax(-1).cpu())
        targets.append(target.cpu())
    return TeacherForced(torch.cat(losses), torch.cat(predictions), torch.cat(targets))


@torch.inference_mode()
def prefix_cross_entropy(
    model: PreTrainedModel, windows: TextWindows, batch_size: int = 256, step: Step | None = None
) -> Tensor:
    """Loss of each target when the model is handed the tokens before it and nothing else.

    Every target costs a forward pass over its own prefix. For a causal model this
    equals :func:`teacher_forced` up to rounding; for a leaky one it is the loss that
    generation would meet.

    Returns:
        ``[windows, context]``, nats.
    """
    losses = []
    for batch in _batches(windows, batch_size, step):
        ids, target = (batch[key].to(model.device) for key in ("input_ids", "shift_labels"))
        columns = []
        for length in range(1, ids.shape[1] + 1):
            logits = model(ids[:, :length], use_cache=False, logits_to_keep=1).logits[:, -1]
            columns.append(F.cross_entropy(logits.float(), target[:, length - 1], reduction="none"))
        losses.append(torch.stack(columns, dim=1).cpu())
    return torch.cat(losses)


def error_rates(references: list[str], hypotheses: list[str]) -> tuple[float, float]:
    """Character and word error rate: edits over reference length, summed over all texts (jiwer).

    Spaces and line breaks count as characters; words are what stands between them.
    Texts without any word count towards the character rate alone. Insertions can
    bring either rate above 1.
    """
    characters = jiwer.process_characters(
        references,
        hypotheses,
        reference_transform=_CHARACTERS,
        hypothesis_transform=_CHARACTERS,
    )
    worded = [(r, h) for r, h in zip(references, hypotheses, strict=True) if r.split()]
    words = jiwer.process_words(
        [" ".join(r.split()) for r, _ in worded], [" ".join(h.split()) for _, h in worded]
    )
    return characters.cer, words.wer


# jiwer's own default strips the texts; white space is part of what a character model predicts.
_CHARACTERS = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])


@torch.inference_mode()
def inference_seconds(
    models: Mapping[str, PreTrainedModel],
    inputs: Mapping[str, Mapping[str, Tensor]],
    repeats: int = 20,
) -> dict[str, float]:
    """Median seconds of one forward pass over its inputs, text decoding not included.

    The models take turns, so that a change of the machine's speed meets all of them.

    Args:
        models: by name, in evaluation mode.
        inputs: by the same names, what each model is called with, ``input_ids`` at least.
        repeats: timed passes of each, after three that are not timed.
    """
    timings: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 3):
        for name, model in models.items():
            on = {key: value.to(model.device) for key, value in inputs[name].items()}
            _synchronize(on["input_ids"])
            start = time.perf_counter()
            model(**on, use_cache=False)
            _synchronize(on["input_ids"])
            if turn >= 3:
                timings[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in timings.items()}


def _synchronize(on: Tensor) -> None:
    if on.is_cuda:
        torch.cuda.synchronize(on.device)


def _batches(
    windows: TextWindows, batch_size: int, step: Step | None
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(windows), batch_size):
        end = min(start + batch_size, len(windows))
        yield windows.__getitems__(list(range(start, end)))
        if step:
            step(end, len(windows))
