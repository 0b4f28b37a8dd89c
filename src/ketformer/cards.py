"""The card of a run: what its model was trained on and how, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult

from ketformer import runs
from ketformer.models import KetformerConfig
from ketformer.models.card import compose_card, table_of, write_card
from ketformer.tasks.datasets import DATASETS

# Of an evaluation, in this order: what a card tells, and how it calls it.
_METRICS = {
    "cross_entropy": "cross entropy, nats per token",
    "prefix_cross_entropy": "the same with the prefix alone",
    "perplexity": "perplexity",
    "bits_per_character": "bits per character",
    "cer": "character error rate, teacher-forced",
    "wer": "word error rate, teacher-forced",
    "loss": "loss without padding, nats per token",
    "prefix_loss": "the same with the prefix alone",
    "token_accuracy": "token accuracy",
    "validity": "valid, of the samples",
    "uniqueness": "unique, of the valid",
    "novelty": "novel, of the unique",
    "fcd": "Fréchet ChemNet distance",
}
_PAPERS = {
    "qsann": "2205.05625",
    "qisa": "2603.03318",
    "qisa_a": "2603.03318",
    "overlap": "2502.19214",
    "classical_eq": "2502.19214",
}


def write_run_card(
    path: Path, config: KetformerConfig, evaluation: Mapping[str, Any] | None = None
) -> None:
    """Write a run's card from what its directory holds, unless somebody has edited the card.

    Args:
        path: the run directory.
        config: of its model.
        evaluation: what the test part gave, once it was measured.
    """
    manifest, settings = runs.read_manifest(path), runs.read_yaml(path / runs.SETTINGS)
    measured = evaluation or {}
    known = {**manifest, **measured}
    metrics = {key: measured[key] for key in _METRICS if isinstance(measured.get(key), float)}
    data = manifest.get("data", {})
    name = Path(str(data.get("name", "unknown"))).name  # a path of this machine tells nobody
    molecules = settings.get("task") == "molecules"
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
    paper = _PAPERS.get(config.attention.removesuffix("_published"))
    text = compose_card(
        config,
        known["parameters"],
        known["causal"],
        name=path.resolve().name,
        sections=[
            _data_section(data, name),
            _training_section(settings, manifest),
            _metrics_section(metrics, runs.read_metrics(path), path.name),
        ],
        tags=[*(["chemistry", "smiles"] if molecules else []), *([f"arxiv:{paper}"] * bool(paper))],
        eval_results=results or None,
    )
    write_card(path, text)


def _data_section(data: Mapping[str, Any], name: str) -> str:
    known = DATASETS.get(name)
    facts = {"name": name, "split": data.get("split", "–"), "SHA-256": data.get("sha256", "–")}
    if known:
        facts |= {"what": known.description, "licence": known.licence}
    return "## Training data\n\n" + table_of(facts)


def _training_section(settings: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine", {})
    facts = {
        "preset": settings.get("name", "–"),
        "seed": manifest.get("seed", "–"),
        "made": manifest.get("created", "–"),
        "commit": manifest.get("commit") or "not known",
        "versions": _listed(machine.get("versions")),
        "machine": machine.get("gpu") or machine.get("cpu") or "–",
    }
    if isinstance(imported := manifest.get("imported"), dict):
        facts["imported from"] = f"{imported.get('file')}, {imported.get('paper')}"
    options = yaml.safe_dump(settings.get("training"), sort_keys=False)
    return f"## Training\n\n{table_of(facts)}\n```yaml\n{options}```\n"


def _metrics_section(metrics: Mapping[str, float], logged: list[dict[str, Any]], run: str) -> str:
    title = "## Metrics\n\n"
    if metrics:
        return title + table_of({_METRICS[key]: f"{value:.4g}" for key, value in metrics.items()})
    losses = [row["eval_loss"] for row in logged if "eval_loss" in row]
    last = f"Last validation loss: {losses[-1]:.4g} nats per target. " if losses else ""
    return f"{title}{last}`ketformer evaluate {run}` measures the test part and adds it here.\n"


def _listed(versions: object) -> str:
    if not isinstance(versions, dict):
        return "–"
    return ", ".join(f"{name} {version}" for name, version in versions.items())
