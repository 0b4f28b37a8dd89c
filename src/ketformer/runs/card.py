"""The model card of a run: its data, its training and its metrics."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult

from ketformer.attention import attention_class
from ketformer.models import KetformerConfig
from ketformer.models.card import CARD, compose_card, write_card
from ketformer.models.feed_forward import feed_forward_class
from ketformer.runs.directory import (
    SETTINGS_FILE,
    changes_on_the_way,
    read_evaluation,
    read_manifest,
    read_metrics,
)
from ketformer.runs.settings import Settings
from ketformer.runs.settings_file import read_settings
from ketformer.tasks.datasets import DATASETS
from ketformer.tasks.metric import METRICS, metrics_of
from ketformer.utils.markdown import markdown_table


def write_run_card(path: Path, config: KetformerConfig) -> None:
    """Write a run's card from its directory, unless somebody has edited the card.

    It has the results on the test part if its present weights have been evaluated.

    Args:
        path: the run directory.
        config: the configuration of its model.
    """
    manifest, settings = read_manifest(path), read_settings(path / SETTINGS_FILE)
    measured = read_evaluation(path) or {}
    known = {**manifest, **measured}
    metrics = {
        metric.name: measured[metric.name]
        for metric in metrics_of(settings.task)
        if metric.on_card and isinstance(measured.get(metric.name), float)
    }
    data = manifest.get("data", {})
    name = Path(str(data.get("name", "unknown"))).name  # not a path on this machine
    molecules = settings.task == "molecules"
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=name,
            dataset_name=name,
            metric_type=key,
            metric_value=value,
        )
        for key, value in metrics.items()
    ]
    sources = [attention_class(name).papers() for name in config.mechanisms]
    sources.append([feed_forward_class(config.feed_forward).paper])
    papers = dict.fromkeys(paper for several in sources for paper in several if paper)
    text = compose_card(
        config,
        known["parameters"],
        known["causal"],
        name=path.resolve().name,
        sections=[
            _data_section(data, name),
            _training_section(settings, manifest),
            _metrics_section(
                metrics, measured.get("weights_sha256"), read_metrics(path), path.name
            ),
        ],
        tags=[
            *(["chemistry", "smiles"] if molecules else []),
            *(f"{'doi' if '/' in paper else 'arxiv'}:{paper}" for paper in papers),
        ],
        eval_results=results or None,
    )
    if not write_card(path, text):
        warnings.warn(
            f"{path / CARD} has been edited and is kept; its numbers may be of other weights",
            stacklevel=2,
        )


def _data_section(data: Mapping[str, Any], name: str) -> str:
    known = DATASETS.get(name)
    facts = {"name": name, "split": data.get("split", "–"), "SHA-256": data.get("sha256", "–")}
    if fraction := data.get("train_fraction"):
        facts["trained on"] = f"{fraction:.3g} of the training part"
    if removed := data.get("removed"):
        facts["removed"] = ", ".join(f"{mark} from {count:,}" for mark, count in removed.items())
    if known:
        facts |= {"description": known.description, "licence": known.licence}
    return "## Training data\n\n" + markdown_table(["", ""], facts.items())


def _training_section(settings: Settings, manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine", {})
    facts = {
        "preset": settings.name,
        "seed": manifest.get("seed", "–"),
        "created": manifest.get("created", "–"),
        "commit": manifest.get("commit") or "unknown",
        "versions": _listed(machine.get("versions")),
        "machine": machine.get("gpu") or machine.get("cpu") or "–",
    }
    if isinstance(imported := manifest.get("imported"), dict):
        facts["imported from"] = f"{imported.get('file')}, {imported.get('paper')}"
    facts |= _beginning(manifest.get("init", {}))
    if lora := manifest.get("lora"):
        layers = sorted({name.rpartition(".")[2] for name in lora["layers"]})
        facts["adapters"] = (
            f"LoRA of rank {lora['rank']} on {', '.join(f'`{name}`' for name in layers)}, merged; "
            f"{lora['trained_parameters']:,} parameters trained, {lora['frozen_parameters']:,} "
            "frozen"
        )
    if (stopping := manifest.get("early_stopping", {})).get("stopped_early"):
        facts["stopped early"] = (
            f"after step {stopping['step']}: {stopping['patience']} evaluations without a lower "
            f"validation loss; the weights are those of step {stopping['best_step']}"
        )
    if changes := changes_on_the_way(manifest):
        facts["resumed"] = "; ".join(changes)
    options = yaml.safe_dump(settings.training, sort_keys=False)
    return f"## Training\n\n{markdown_table(['', ''], facts.items())}\n```yaml\n{options}```\n"


def _beginning(init: Mapping[str, Any]) -> dict[str, str]:
    """Rows about the run that it was fine-tuned from, if any."""
    if not init:
        return {}
    # Not a path on this machine.
    name, sha256 = Path(str(init.get("run"))).name, init.get("weights_sha256")
    rows = {"fine-tuned from": f"{name}, weights with SHA-256 {sha256}"}
    for key in ("added_tokens", "added_conditions", "unknown_conditions"):
        if names := init.get(key):
            rows[key.replace("_", " ")] = ", ".join(f"`{name}`" for name in names)
    return rows


def _metrics_section(
    metrics: Mapping[str, float], sha256: str | None, logged: list[dict[str, Any]], run: str
) -> str:
    title = "## Metrics\n\n"
    if metrics:
        table = markdown_table(
            ["", ""], ((METRICS[key].title, f"{value:.4g}") for key, value in metrics.items())
        )
        return f"{title}{table}\nMeasured on the weights with SHA-256 `{sha256}`.\n"
    losses = [row["eval_loss"] for row in logged if "eval_loss" in row]
    last = f"Last validation loss: {losses[-1]:.4g} nats per target. " if losses else ""
    return f"{title}{last}`ketformer evaluate {run}` adds the metrics on the test part here.\n"


def _listed(versions: object) -> str:
    if not isinstance(versions, dict):
        return "–"
    return ", ".join(f"{name} {version}" for name, version in versions.items())
