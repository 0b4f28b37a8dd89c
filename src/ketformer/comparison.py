"""One verb: compare. The same data, batches and seeds for each; matched sizes; intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from ketformer import runs
from ketformer.errors import KetformerError
from ketformer.evaluation import EVALUATION, evaluate, save_evaluation, timing_inputs
from ketformer.generation import sample_of
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.preparation import prepare
from ketformer.settings import Settings, load_settings
from ketformer.tasks.text import inference_seconds
from ketformer.training import train

#: What is averaged over the seeds, for each task.
METRICS = {
    "text": (
        "cross_entropy",
        "prefix_cross_entropy",
        "cer",
        "wer",
        "free_running_cer",
        "free_running_wer",
    ),
    "molecules": (
        "loss",
        "loss_with_padding",
        "loss_as_published",
        "prefix_loss",
        "token_accuracy",
        "validity",
        "uniqueness",
        "novelty",
        "product",
        "in_training",
        "fcd",
        "snn",
        "internal_diversity",
        "fragment_similarity",
        "scaffold_similarity",
    ),
}
# Of the first seed alone: curves over the positions of a window, hits of requested properties.
_CURVES = ("cross_entropy_by_position", "prefix_cross_entropy_by_position", "target_errors")


@dataclass(frozen=True)
class Variant:
    """One row of a comparison: a name and the settings that make it."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


def run_variants(
    variants: Sequence[Variant],
    settings: Settings,
    out: Path,
    seeds: Sequence[int],
    *,
    evaluation: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train and evaluate every variant with every seed, and time them against each other.

    A run that is already finished in ``out`` is taken as it is, so an interrupted
    comparison goes on where it stopped.

    Args:
        variants: the rows; the first is what inference time is relative to.
        settings: what they share.
        out: folder for the runs, one for each variant and seed.
        seeds: the same for each variant; they set weights, batches and dropout.
        evaluation: further arguments of :func:`~ketformer.evaluation.evaluate`.
        progress: show bars on standard error.

    Returns:
        ``rows``, one for each variant, with its metrics as ``{mean, low, high,
        values}`` (95 % t-interval over seeds; null bounds for a single seed).
    """
    rows, opened = [], {}
    total = len(variants) * len(seeds)
    for i, variant in enumerate(variants):
        results = []
        for j, seed in enumerate(seeds):
            label = f"[{i * len(seeds) + j + 1}/{total}] {variant.name}"
            path = out / f"{variant.name}-seed{seed}"
            results.append(_one(variant, settings, path, seed, label, evaluation or {}, progress))
        opened[variant.name] = runs.open_run(out / f"{variant.name}-seed{seeds[0]}")
        rows.append(_row(variant, results, opened[variant.name]))
    _add_times(rows, opened)
    return {"settings": settings.to_dict(), "seeds": list(seeds), "rows": rows}


def matched_variants(
    attentions: Sequence[str], settings: Settings, data_keys: Mapping[str, Any]
) -> list[Variant]:
    """Each mechanism with as many parameters as the first, by the width of its feed-forward layer.

    Args:
        attentions: registry names; the first is the reference.
        settings: what they share.
        data_keys: configuration keys that the data decides, the vocabulary at least.

    Raises:
        KetformerError: a mechanism cannot come within 2 %.
    """
    if len(set(attentions)) != len(attentions):
        raise KetformerError("each attention can be compared once")
    variants: list[Variant] = []
    target = 0
    for attention in attentions:
        own = settings.override({"attention": attention})
        width = KetformerConfig(**{**data_keys, **own.model}).intermediate_size or 0
        if not variants:
            target = _count(own, data_keys, width)
        else:
            here = _count(own, data_keys, width)
            slope = _count(own, data_keys, width + 1) - here
            width = max(width + round((target - here) / slope), 1)
        size = _count(own, data_keys, width)
        if abs(size - target) > 0.02 * target:
            raise KetformerError(
                f"{attention} has {size:,} parameters at best, {attentions[0]} has {target:,}: "
                "not within 2 %; pass --match false to compare them all the same"
            )
        resized = {"intermediate_size": width} if variants else {}
        variants.append(Variant(attention, {"attention": attention, **resized}))
    return variants


def compare(
    attentions: Sequence[str],
    settings: Settings,
    out: str | Path,
    *,
    seeds: int = 3,
    match: bool = True,
    with_fcd: bool = False,
    targets: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare mechanisms on equal terms; the result is also kept in ``out/comparison.json``.

    Args:
        attentions: registry names; the first is the reference for size and time.
        settings: what they share.
        out: folder for the runs and the result.
        seeds: number of seeds, from the settings' own seed upwards.
        match: give each the reference's number of parameters, within 2 %.
        with_fcd: of molecules: also compute the FCD, some minutes for each run.
        targets: of conditional models of molecules: molecules to sample for each target.
        progress: show bars on standard error.

    Raises:
        KetformerError: unknown or repeated names, or sizes that cannot be matched.
    """
    if len(attentions) < 2 or seeds < 1:
        raise KetformerError("a comparison needs at least two attentions and one seed")
    if match:
        data_keys = prepare(settings, progress=progress).model_keys
        variants = matched_variants(attentions, settings, data_keys)
    else:
        variants = [Variant(name, {"attention": name}) for name in attentions]
    first = settings.training.get("seed", 42)
    result = run_variants(
        variants,
        settings,
        Path(out),
        range(first, first + seeds),
        evaluation={"with_fcd": with_fcd, "targets": targets},
        progress=progress,
    )
    result = {"manifest": runs.make_manifest(), "matched": match, **result}
    runs.write_json(Path(out) / "comparison.json", result)
    return result


def summarise(values: Sequence[Any]) -> dict[str, Any]:
    """Mean and 95 % t-interval; the bounds are None for a single value, all if one is None."""
    if any(value is None for value in values):
        return {"mean": None, "low": None, "high": None, "values": list(values)}
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None, "values": list(values)}
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {
        "mean": mean,
        "low": float(mean - half),
        "high": float(mean + half),
        "values": list(values),
    }


def _one(
    variant: Variant,
    settings: Settings,
    path: Path,
    seed: int,
    label: str,
    evaluation: Mapping[str, Any],
    progress: bool,
) -> dict[str, Any]:
    mine = settings.override({**variant.changes, "seed": seed})
    if (path / runs.SETTINGS).is_file():
        if load_settings(str(path / runs.SETTINGS)) != mine:
            raise KetformerError(f"{path} holds a run with other settings; choose another --out")
        if (path / EVALUATION).is_file():
            return runs.read_json(path / EVALUATION)
    if not (path / "model.safetensors").is_file():
        train(mine, path, resume=True, progress=progress, label=label)
    run = runs.open_run(path)
    result = evaluate(run, **evaluation, progress=progress)
    save_evaluation(run, result)
    return result


def _row(variant: Variant, results: list[dict[str, Any]], run: runs.Run) -> dict[str, Any]:
    first = results[0]
    return {
        "name": variant.name,
        "attention": first["attention"],
        "attention_options": run.model.config.attention_options,
        "parameters": first["parameters"],
        "intermediate_size": run.model.config.intermediate_size,
        "causal": all(result["causal"] for result in results),
        **{
            metric: summarise([result.get(metric) for result in results])
            for metric in METRICS[run.settings.get("task", "text")]
        },
        **{curve: first[curve] for curve in _CURVES if curve in first},
        "sample": sample_of(run),
        "run": str(run.path),
    }


def _add_times(rows: list[dict[str, Any]], opened: dict[str, runs.Run]) -> None:
    """Inference time of each, taking turns on one batch, and its ratio to the first."""
    inputs = {name: timing_inputs(run) for name, run in opened.items()}
    seconds = inference_seconds({name: run.model for name, run in opened.items()}, inputs)
    for row in rows:
        row["inference_ms"] = 1000 * seconds[row["name"]]
        row["relative_inference_time"] = seconds[row["name"]] / seconds[rows[0]["name"]]


def _count(settings: Settings, data_keys: Mapping[str, Any], width: int) -> int:
    keys = {**data_keys, **settings.model, "intermediate_size": width}
    with torch.device("meta"):
        return int(KetformerForCausalLM(KetformerConfig(**keys)).num_parameters())
