"""One verb: evaluate. Every metric of the task, leaks included."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ketformer import runs
from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM
from ketformer.models.continuation import continue_tokens
from ketformer.runs import Run
from ketformer.tasks.datasets import load_text
from ketformer.tasks.text import (
    SPLITS,
    TextWindows,
    encode,
    error_rates,
    inference_seconds,
    prefix_cross_entropy,
    split_text,
    teacher_forced,
)

PARTS = ("train", "validation", "test")
EVALUATION = "evaluation.json"

# The prefix loss costs a pass for each target; this many tokens are read for it at most.
_PREFIX_TOKENS = 1 << 21
# Free-running continuations: this many, each as long as the context.
_CONTINUATIONS = 64
# Tokens in a timed batch: 1,024 windows of 16, the published size.
_TIMED_TOKENS = 1 << 14


def evaluate(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained text model.

    Windows do not overlap, so each target counts once. ``cross_entropy`` is
    teacher-forced over whole windows, as papers report it; ``prefix_cross_entropy``
    hands the model nothing but the tokens before each target, and is what can be
    believed of any model. ``causal`` is measured on this model, not declared.

    Args:
        run: an opened run.
        data: a data set or path; what the run was trained on by default.
        split: a way to split (``standard``, ``published``), whose test part is taken,
            or a part (``train``, ``validation``, ``test``) of the run's own split.
        limit: at most that many windows, evenly spread; all of them by default.
        progress: show bars on standard error.

    Returns:
        Cross entropies in nats per token (also by position), ``bits_per_character``,
        ``perplexity``, teacher-forced and free-running ``cer`` and ``wer``,
        ``inference_ms`` for one batch without text decoding, and what they were
        measured on.

    Raises:
        KetformerError: unknown data or split, or characters the model has no token for.
    """
    if limit is not None and limit < 1:
        raise KetformerError(f"limit must be positive, got {limit}")
    way, part = _way_and_part(run, split)
    source = load_text(data or run.settings["data"])
    _check_same_data(run, source.name, source.sha256)
    text = split_text(source.text, way)[part]
    context = run.model.config.max_position_embeddings
    windows = TextWindows(encode(run.tokenizer, text), context, stride=context, limit=limit)

    with _Bars(progress) as bars:
        forced = teacher_forced(run.model, windows, step=bars("teacher-forced"))
        short = prefix_windows(windows)
        prefix = prefix_cross_entropy(run.model, short, step=bars("prefix alone"))
    references = run.tokenizer.batch_decode(forced.targets)
    cer, wer = error_rates(references, run.tokenizer.batch_decode(forced.predictions))
    free_cer, free_wer = _free_running(run, windows)
    loss = float(forced.losses.double().mean())
    batch = timing_batch(run.model, windows)
    seconds = inference_seconds({"model": run.model}, batch)["model"]
    return {
        "run": str(run.path),
        "attention": run.model.config.attention,
        "parameters": run.model.num_parameters(),
        "causal": audit_causality(run.model, sequences=4).causal,
        "data": source.name,
        "split": way,
        "part": part,
        "targets": forced.losses.numel(),
        "cross_entropy": loss,
        "bits_per_character": float(forced.losses.double().sum())
        / (math.log(2) * sum(map(len, references))),
        "perplexity": math.exp(min(loss, 700)),
        "prefix_cross_entropy": float(prefix.double().mean()),
        "prefix_targets": prefix.numel(),
        "cross_entropy_by_position": forced.losses.double().mean(0).tolist(),
        "prefix_cross_entropy_by_position": prefix.double().mean(0).tolist(),
        "cer": cer,
        "wer": wer,
        "free_running_cer": free_cer,
        "free_running_wer": free_wer,
        "inference_ms": 1000 * seconds,
        "inference_batch": list(batch.shape),
    }


def save_evaluation(run: Run, result: dict[str, Any]) -> Path:
    """Keep an evaluation in the run directory."""
    path = run.path / EVALUATION
    runs.write_json(path, result)
    return path


def prefix_windows(windows: TextWindows) -> TextWindows:
    """As many of the windows, evenly spread, as the prefix loss can afford."""
    context = windows.context
    affordable = max(_PREFIX_TOKENS // (context * (context + 1) // 2), 1)
    if affordable >= len(windows):
        return windows
    return TextWindows(windows.tokens, context, stride=context, limit=affordable)


def timing_batch(model: KetformerForCausalLM, windows: TextWindows) -> Tensor:
    """A batch of the published number of tokens; windows repeat if the text is short."""
    wanted = max(_TIMED_TOKENS // windows.context, 1)
    ids = [i % len(windows) for i in range(wanted)]
    return windows.__getitems__(ids)["input_ids"].to(model.device)


def _way_and_part(run: Run, split: str | None) -> tuple[str, str]:
    if split is None:
        return run.settings["split"], "test"
    if split in SPLITS:
        return split, "test"
    if split in PARTS:
        return run.settings["split"], split
    known = ", ".join((*SPLITS, *PARTS))
    raise KetformerError(f"unknown split {split!r}; known: {known}")


def _check_same_data(run: Run, name: str, sha256: str) -> None:
    trained = run.manifest.get("data", {})
    if trained.get("name") == name and trained.get("sha256") != sha256:
        raise KetformerError(
            f"{name} is not what {run.path} was trained on: its SHA-256 is {sha256[:12]}…, "
            f"not {str(trained.get('sha256'))[:12]}…"
        )


def _free_running(run: Run, windows: TextWindows) -> tuple[float, float]:
    """Error rates of greedy continuations of half a window, as long as a whole one."""
    context, tokens = windows.context, windows.tokens
    given = max(context // 2, 1)
    last = len(tokens) - given - context
    if last < 0:
        raise KetformerError(
            f"the text has {len(tokens)} tokens, too few for continuations of {given + context}"
        )
    starts = torch.linspace(0, last, min(_CONTINUATIONS, last + 1)).long()
    prompts = torch.stack([tokens[s : s + given] for s in starts])
    truth = torch.stack([tokens[s + given : s + given + context] for s in starts])
    written = continue_tokens(run.model, prompts.to(run.model.device), context, do_sample=False)
    return error_rates(run.tokenizer.batch_decode(truth), run.tokenizer.batch_decode(written.cpu()))


class _Bars:
    """Progress bars that close themselves."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.open: list[Any] = []

    def __enter__(self) -> _Bars:
        return self

    def __call__(self, label: str) -> Any:
        bar = tqdm(desc=label, unit="window", disable=not self.shown, leave=False)
        self.open.append(bar)

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return step

    def __exit__(self, *_: object) -> None:
        for bar in self.open:
            bar.close()
