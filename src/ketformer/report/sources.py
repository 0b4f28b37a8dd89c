"""Turn run directories, folders and result files into studies for a report."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ketformer.comparison import summarise
from ketformer.errors import KetformerError
from ketformer.evaluation import evaluate, save_evaluation
from ketformer.evaluation.speed import timing_inputs
from ketformer.generation.preview import sample_of
from ketformer.report.study import Study, checked
from ketformer.runs import Run, open_run
from ketformer.runs.directory import EVALUATION_FILE, SETTINGS_FILE, read_evaluation
from ketformer.tasks.metric import CURVES, TASKS, metrics_of
from ketformer.utils.mappings import read_json
from ketformer.utils.progress import Bars
from ketformer.utils.timing import inference_seconds

#: The result files that verbs leave in their folders.
RESULTS = ("comparison.json", "reproduction.json", "demo.json")


def studies_of(paths: Sequence[str | Path], *, progress: bool = True) -> list[Study]:
    """The studies to report on: one for each result, and one for each task of the single runs.

    Args:
        paths: run directories, folders of ``compare``, ``reproduce`` and ``demo``, or their
            result files.
        progress: show bars on standard error while runs without an evaluation are evaluated.

    Raises:
        KetformerError: there is nothing to report on, or something is broken.
    """
    studies: list[Study] = []
    single: dict[str, list[Run]] = {}
    for path in dict.fromkeys(map(Path, paths)):
        if file := _result_file(path):
            studies += _of_result(file)
        else:
            run = open_run(path)
            single.setdefault(run.task, []).append(run)
    for task, opened in single.items():
        studies.append(_of_runs(task, opened, progress))
    return studies


def _result_file(path: Path) -> Path | None:
    """The result file that a path stands for; None for a run directory."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise KetformerError(f"no file or folder {str(path)!r}")
    found = [path / name for name in RESULTS if (path / name).is_file()]
    if not found and not (path / SETTINGS_FILE).is_file():
        known = ", ".join(RESULTS)
        raise KetformerError(f"{path}: neither a run directory nor a folder with {known}")
    return found[0] if found else None


def _of_result(file: Path) -> Iterator[Study]:
    content = read_json(file)
    parts = {task: content[task] for task in TASKS if isinstance(content.get(task), dict)}
    if "rows" in content or not parts:
        yield Study(checked(content, file), file.parent, file.parent.name)
        return
    for part in parts.values():
        whole = {**part, "manifest": content.get("manifest")}
        yield Study(checked(whole, file), file.parent, file.parent.name)


def _of_runs(task: str, opened: list[Run], progress: bool) -> Study:
    """A study of runs outside a comparison: each evaluated by itself, all timed side by side."""
    names = [run.path.resolve().name for run in opened]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in opened]
    rows = [
        _row(name, run, _evaluation(run, progress)) for name, run in zip(names, opened, strict=True)
    ]
    models = {name: run.model for name, run in zip(names, opened, strict=True)}
    inputs = {name: timing_inputs(run) for name, run in zip(names, opened, strict=True)}
    with Bars(progress, "round") as bars:
        seconds = inference_seconds(models, inputs, step=bars("timing"))
    for row in rows:
        row["inference_ms"] = 1000 * seconds[row["name"]]
        row["relative_inference_time"] = seconds[row["name"]] / seconds[names[0]]
    result = {
        "settings": opened[0].settings.to_dict(),
        "rows": rows,
        "manifest": opened[0].manifest,
        "others": {
            name: {"settings": run.settings.to_dict(), "manifest": run.manifest}
            for name, run in zip(names[1:], opened[1:], strict=True)
        },
    }
    return Study(checked(result, opened[0].path), opened[0].path.parent, ", ".join(names))


def _evaluation(run: Run, progress: bool) -> dict[str, Any]:
    if (found := read_evaluation(run.path)) is not None:
        return found
    if (run.path / EVALUATION_FILE).is_file():
        warnings.warn(
            f"{run.path / EVALUATION_FILE} is not of the run's present weights: measuring again",
            stacklevel=2,
        )
    result = evaluate(run, with_fcd=False, progress=progress)
    save_evaluation(run, result)
    return result


def _row(name: str, run: Run, evaluation: dict[str, Any]) -> dict[str, Any]:
    config = run.model.config
    known = metrics_of(run.task, padded=run.settings.count_padding)
    values = {metric.name: evaluation.get(metric.name) for metric in known}
    for metric, value in values.items():
        if value is not None and not isinstance(value, int | float):
            raise KetformerError(f"{run.path / EVALUATION_FILE}: {metric} must be a number")
    return {
        "name": name,
        "attention": config.attention_name,
        "attention_options": config.attention_options,
        "parameters": run.model.num_parameters(),
        "causal": evaluation.get("causal"),
        **{metric: summarise([value]) for metric, value in values.items()},
        **{
            key: evaluation[key]
            for key in (*CURVES[run.task], "target_errors")
            if key in evaluation
        },
        "sample": sample_of(run),
        "run": str(run.path),
        "weights_sha256": [run.weights_sha256],
    }
