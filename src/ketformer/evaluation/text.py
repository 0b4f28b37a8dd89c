"""``evaluate`` for text: every metric, leaks included."""

from __future__ import annotations

import math
from typing import Any

import torch

from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.evaluation.speed import timing_inputs
from ketformer.evaluation.splits import check_same_data, way_and_part
from ketformer.generation.continuation import continue_tokens
from ketformer.runs import Run
from ketformer.tasks.base import count_kept
from ketformer.tasks.datasets import found_from_anywhere, load_text
from ketformer.tasks.losses import prefix_losses, teacher_forced
from ketformer.tasks.metric import computed
from ketformer.tasks.text import (
    SPLITS,
    TextWindows,
    count_characters,
    encode,
    error_rates,
    split_text,
)
from ketformer.tasks.text.encoding import BAR_DELAY
from ketformer.utils.progress import Bars
from ketformer.utils.timing import inference_seconds

# The prefix loss costs a forward pass per target, so it reads at most this many tokens.
PREFIX_TOKENS = 1 << 21
# The number of free-running continuations, each as long as the context.
_CONTINUATIONS = 64


def evaluate_text(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    timed: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained text model.

    Windows do not overlap, so each target counts once. ``cross_entropy`` is
    teacher-forced over whole windows, as papers report it; ``prefix_cross_entropy``
    gives the model only the tokens before each target, so it can be trusted for any
    model. ``causal`` is measured on this model, not declared.

    Args:
        run: an opened run.
        data: a data set or path; by default the run's training data.
        split: a split method (``standard``, ``published``), whose test part is used,
            or a part (``train``, ``validation``, ``test``) of the run's own split.
        limit: the most windows to use, evenly spread; all by default.
        timed: also time inference, which means little while other runs share the cores.
        progress: show bars on standard error.

    Returns:
        Cross entropies in nats per token (also by position), ``bits_per_character``,
        ``perplexity``, teacher-forced and free-running ``cer`` and ``wer``,
        if timed ``inference_ms`` for one batch without text decoding, the data they were
        measured on, and the metrics of other packages.

    Raises:
        KetformerError: the data or split is unknown, or has characters the model has no
            token for.
    """
    windows, source = evaluation_windows(
        run, data=data, split=split, limit=limit, progress=progress
    )
    with Bars(progress, "window") as bars:
        forced = teacher_forced(run.model, windows, step=bars("teacher-forced"))
        short = prefix_windows(windows)
        prefix = prefix_losses(run.model, short, step=bars("prefix alone"))
    references = run.tokenizer.batch_decode(forced.targets)
    cer, wer = error_rates(references, run.tokenizer.batch_decode(forced.predictions))
    continuations, followed = _free_running(run, windows)
    free_cer, free_wer = error_rates(followed, continuations)
    loss = float(forced.losses.mean())
    with Bars(progress, "position") as bars:
        causal = audit_causality(run.model, sequences=4, step=bars("audit")).causal
    times = _times(run, progress) if timed else {}
    return {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        "parameters": run.model.num_parameters(),
        "causal": causal,
        **source,
        "targets": forced.losses.numel(),
        "cross_entropy": loss,
        "bits_per_character": float(forced.losses.sum())
        / (math.log(2) * max(count_characters(run.tokenizer, forced.targets), 1)),
        "perplexity": math.exp(min(loss, 700)),
        "prefix_cross_entropy": float(prefix.mean()),
        "prefix_targets": prefix.numel(),
        "cross_entropy_by_position": forced.losses.mean(0).tolist(),
        "prefix_cross_entropy_by_position": prefix.mean(0).tolist(),
        "cer": cer,
        "wer": wer,
        "free_running_cer": free_cer,
        "free_running_wer": free_wer,
        **computed("text", continuations, followed),
        **times,
    }


def _times(run: Run, progress: bool) -> dict[str, Any]:
    """Milliseconds of a forward pass, and the size of the batch."""
    inputs = timing_inputs(run)
    with Bars(progress, "round") as bars:
        seconds = inference_seconds({"": run.model}, {"": inputs}, step=bars("timing"))
    return {
        "inference_ms": 1000 * seconds[""],
        "inference_batch": list(inputs["input_ids"].shape),
    }


def evaluation_windows(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> tuple[TextWindows, dict[str, str]]:
    """The windows to evaluate a text model on, and their source.

    Arguments and errors are those of :func:`evaluate_text`.
    """
    if limit is not None and limit < 1:
        raise KetformerError(f"limit must be positive, got {limit}")
    way, part = way_and_part(run.settings.split, split, SPLITS)
    source = load_text(
        found_from_anywhere(data or run.settings.data), None if data else run.settings.encoding
    )
    check_same_data(run, {"name": source.name, "sha256": source.sha256})
    text = split_text(source.text, way)[part]
    if part == "train":
        text = text[: count_kept(len(text), run.settings.train_fraction)]
    context = run.model.config.max_position_embeddings
    with Bars(progress, "character", BAR_DELAY) as bars:
        tokens = encode(run.tokenizer, text, dtype=torch.int32, step=bars("encoding"))
    windows = TextWindows(tokens, context, stride=context, limit=limit)
    return windows, {"data": source.name, "split": way, "part": part}


def prefix_windows(windows: TextWindows) -> TextWindows:
    """As many windows, evenly spread, as the prefix loss can afford."""
    context = windows.context
    affordable = max(PREFIX_TOKENS // (context * (context + 1) // 2), 1)
    if affordable >= len(windows):
        return windows
    return TextWindows(windows.tokens, context, stride=context, limit=affordable)


def _free_running(run: Run, windows: TextWindows) -> tuple[list[str], list[str]]:
    """Greedy continuations, a window long, of half-window prompts, and the true continuations."""
    context, tokens = windows.context, windows.tokens
    given = max(context // 2, 1)
    last = len(tokens) - given - context
    if last < 0:
        raise KetformerError(
            f"the text has {len(tokens)} tokens, too few for continuations of {given + context}"
        )
    starts = torch.linspace(0, last, min(_CONTINUATIONS, last + 1)).long()
    prompts = torch.stack([tokens[s : s + given] for s in starts]).long()
    truth = torch.stack([tokens[s + given : s + given + context] for s in starts])
    written = continue_tokens(run.model, prompts.to(run.model.device), context, do_sample=False)
    return run.tokenizer.batch_decode(written.cpu()), run.tokenizer.batch_decode(truth)
