"""The ``compare`` verb: the same data, batches and seeds for all; matched sizes; intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ketformer.comparison.jobs import Job
from ketformer.comparison.search import Search, search_rates
from ketformer.comparison.start import measured_start, started_alike
from ketformer.comparison.statistics import compare_to_first, summarise
from ketformer.comparison.tables import columns_of, notes_on
from ketformer.comparison.variants import Variant, matched, rows_of
from ketformer.comparison.workers import run_jobs
from ketformer.errors import KetformerError
from ketformer.evaluation.speed import timing_inputs
from ketformer.generation.preview import sample_of
from ketformer.runs import Run, Settings, open_run
from ketformer.runs.data import prepare
from ketformer.runs.directory import make_manifest
from ketformer.tasks.metric import CURVES, metrics_of
from ketformer.utils.files import write_json
from ketformer.utils.locks import alone_in_out
from ketformer.utils.progress import Bars
from ketformer.utils.timing import inference_seconds


@alone_in_out
def run_variants(
    variants: Sequence[Variant],
    settings: Settings,
    out: Path,
    seeds: Sequence[int],
    *,
    evaluation: Mapping[str, Any] | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train and evaluate every variant with every seed, and time them against each other.

    Finished runs in ``out`` are reused, so an interrupted comparison continues where it
    stopped.

    Args:
        variants: the rows; the others are compared with the first.
        settings: the settings they share.
        out: folder for the runs, one for each variant and seed.
        seeds: the same for each variant; they set weights, batches and dropout.
        evaluation: further arguments of :func:`~ketformer.evaluation.evaluate`.
        processes: how many runs at once; by default one, or on a cluster as many as it has cores or
            GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show a table on standard error.

    Returns:
        ``rows``, one for each variant, with its metrics as ``{mean, low, high,
        values}`` (95 % t-interval over seeds; null bounds for a single seed), how it starts
        (:func:`~ketformer.comparison.start.measured_start`), and ``paired`` tests against the
        first row, see :func:`~ketformer.comparison.paired`; ``columns`` of its table, heading and
        key; ``notes`` for its readers.

    Raises:
        KetformerError: another process is using the folder, or a run fails.
    """
    data = prepare(settings, progress=progress)  # cached once, not in each process
    jobs = [
        Job(
            variant.name,
            f"seed {seed}",
            settings.override({**variant.changes, "seed": seed}),
            out / f"{variant.folder}-seed{seed}",
            evaluation or {},
        )
        for variant in variants
        for seed in seeds
    ]
    answers = iter(run_jobs(jobs, processes=processes, cluster=cluster, progress=progress))
    results = [[next(answers) for _ in seeds] for _ in variants]
    result = tabulated(variants, results, settings, out, seeds, progress=progress)
    for variant, row in zip(variants, result["rows"], strict=True):
        own = settings.override({**variant.changes, "seed": seeds[0]})
        shared = replace(own, model={}, training={}) == replace(settings, model={}, training={})
        row |= measured_start(own, data if shared else prepare(own, progress=False))
    return {**result, "columns": columns_of(result)}


def tabulated(
    variants: Sequence[Variant],
    results: Sequence[Sequence[dict[str, Any]]],
    settings: Settings,
    out: Path,
    seeds: Sequence[int],
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """The result of :func:`run_variants` but for the starts, given each row's evaluations by seed.

    Inference is timed anew, all rows side by side.
    """
    opened = [open_run(out / f"{variant.folder}-seed{seeds[0]}") for variant in variants]
    with Bars(progress, "row") as bars:
        step = bars("samples")
        rows = []
        for parts in zip(variants, results, opened, strict=True):
            rows.append(_row(*parts))
            step(len(rows), len(variants))
    measured = metrics_of(settings.task, padded=settings.count_padding)
    compare_to_first(rows, [metric.name for metric in measured])
    _add_times(rows, opened, progress)
    result = {
        "settings": settings.to_dict(),
        "seeds": list(seeds),
        "reference": rows[0]["name"],
        "rows": rows,
    }
    return {**result, "columns": columns_of(result), "notes": notes_on(result)}


@alone_in_out
def compare(
    arms: Sequence[str],
    settings: Settings,
    out: str | Path,
    *,
    seeds: int = 3,
    match: bool = True,
    initial_spread: float | None = 1.0,
    rates: int = 3,
    search_share: float = 1 / 3,
    controls: Sequence[str] = (),
    with_fcd: bool = False,
    targets: int = 0,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare mechanisms on equal terms; the result is also saved in ``out/comparison.json``.

    Args:
        arms: registry names, with or without options: ``overlap:n_qubits=4``; the first is the
            reference for size, time and tests.
        settings: the settings they share.
        out: folder for the runs and the result.
        seeds: number of seeds, counting up from the settings' seed.
        match: match each row to the reference's number of parameters, within 2 %.
        initial_spread: standard deviation of the scores with which each row starts, unless it
            has its own; None leaves every mechanism's own start.
        rates: learning rates tried for each row, and as many more as it takes until the best is
            neither the lowest nor the highest; with 1, the settings' own is used.
        search_share: length of a trial, as a share of the full training.
        controls: further rows, see :func:`~ketformer.comparison.controls`.
        with_fcd: for molecules: also compute the FCD, which takes minutes per run.
        targets: for conditional molecule models: molecules to sample for each target.
        processes: how many runs at once; by default one, or on a cluster as many as it has cores or
            GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show tables on standard error.

    Returns:
        As :func:`run_variants`, and for each row its ``control``, ``learning_rate`` and the
        ``learning_rates`` tried; for the whole, ``matched`` and ``search``.

    Raises:
        KetformerError: a name is unknown or repeated, sizes cannot be matched, or another process
            is using the folder.
    """
    variants = rows_of(arms, settings, controls)
    if len(variants) < 2 or seeds < 1 or (processes is not None and processes < 1):
        raise KetformerError("a comparison needs at least two rows, one seed and one process")
    search = Search.around(settings, rates, search_share)
    if search.seed in range(first := settings.training.get("seed", 42), first + seeds):
        raise KetformerError(
            f"seed {search.seed} is that of the search; choose others for the rows"
        )
    out = Path(out)
    model_keys = prepare(settings, progress=progress).model_keys
    if match:
        variants = matched(variants, settings, model_keys)
    if (
        initial_spread is not None
    ):  # of the sizes that are trained, since other sizes draw otherwise
        all_seeds = [*range(first, first + seeds), search.seed]
        variants = started_alike(variants, settings, model_keys, initial_spread, all_seeds)
    result = run_at_best_rates(
        variants,
        settings,
        search if rates > 1 else None,
        out,
        range(first, first + seeds),
        evaluation={"with_fcd": with_fcd, "targets": targets},
        processes=processes,
        cluster=cluster,
        progress=progress,
    )
    result |= {"matched": match, "initial_spread": initial_spread}
    result |= {"columns": columns_of(result), "notes": notes_on(result)}
    write_json(out / "comparison.json", result)
    return result


def run_at_best_rates(
    variants: Sequence[Variant],
    settings: Settings,
    search: Search | None,
    out: Path,
    seeds: Sequence[int],
    *,
    evaluation: Mapping[str, Any] | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Find each row's learning rate, then :func:`run_variants` with it.

    Args:
        variants: the rows; the first is the reference.
        settings: the settings they share.
        search: how to find the rates; None keeps each row's own.
        out: folder for the runs.
        seeds: the same for each row.
        evaluation: further arguments of :func:`~ketformer.evaluation.evaluate`.
        processes: how many runs at once.
        cluster: address of a Ray cluster to run on.
        progress: show tables on standard error.

    Returns:
        As :func:`run_variants`, with a ``manifest``, the ``search``, and for each row its
        ``learning_rate`` and the ``learning_rates`` tried.
    """
    how: dict[str, Any] = {"processes": processes, "cluster": cluster, "progress": progress}
    tried: dict[str, list[dict[str, Any]]] = {}
    if search:
        variants, tried = search_rates(variants, settings, search, out / "search", **how)
    result = run_variants(variants, settings, out, seeds, evaluation=evaluation, **how)
    for variant, row in zip(variants, result["rows"], strict=True):
        rate = settings.override(variant.changes).training.get("learning_rate")
        row["learning_rate"], row["learning_rates"] = rate, tried.get(variant.name, [])
    facts = search and {"rates": list(search.rates), "share": search.share, "seed": search.seed}
    return {"manifest": make_manifest(processes=processes), "search": facts, **result}


def _row(variant: Variant, results: Sequence[dict[str, Any]], run: Run) -> dict[str, Any]:
    first = results[0]
    return {
        "name": variant.name,
        "control": variant.control,
        "attention": first["attention"],
        "attention_options": run.model.config.attention_options,
        "parameters": first["parameters"],
        "intermediate_size": run.model.config.intermediate_size,
        "causal": all(result["causal"] for result in results),
        **{
            metric.name: summarise([result.get(metric.name) for result in results])
            for metric in metrics_of(run.task, padded=run.settings.count_padding)
        },
        **{key: first[key] for key in (*CURVES[run.task], "target_errors") if key in first},
        "sample": sample_of(run),
        "run": str(run.path),
        "weights_sha256": [result["weights_sha256"] for result in results],
    }


def _add_times(rows: list[dict[str, Any]], opened: list[Run], progress: bool) -> None:
    """Add the inference time of each, taking turns on one batch, and its ratio to the first."""
    by_name = {row["name"]: run for row, run in zip(rows, opened, strict=True)}
    inputs = {name: timing_inputs(run) for name, run in by_name.items()}
    models = {name: run.model for name, run in by_name.items()}
    with Bars(progress, "round") as bars:
        seconds = inference_seconds(models, inputs, step=bars("timing"))
    for row in rows:
        row["inference_ms"] = 1000 * seconds[row["name"]]
        row["relative_inference_time"] = seconds[row["name"]] / seconds[rows[0]["name"]]
