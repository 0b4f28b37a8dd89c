"""The ``import-checkpoint`` command: released weights become an ordinary run directory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from ketformer.errors import KetformerError
from ketformer.models.published import from_published
from ketformer.runs.card import write_run_card
from ketformer.runs.directory import MANIFEST_FILE, SETTINGS_FILE, make_manifest, write_metrics
from ketformer.runs.settings_file import load_settings
from ketformer.tasks.datasets import DATASETS
from ketformer.tasks.molecules.tokenizer import QM9_VOCABULARY, smiles_tokenizer
from ketformer.utils.files import write_json, write_text
from ketformer.utils.locks import contents, in_use


def import_checkpoint(file: str | Path, out: str | Path) -> dict[str, Any]:
    """Write a run directory from a ``.pt`` file released with arXiv 2502.19214.

    The vocabulary is not in the file; it is that of QM9's canonical SMILES. Conditional
    quantum models keep the released scaling by the batch (``published_scaling``), without
    which the weights would mean something else.

    Args:
        file: the checkpoint; nothing in it is executed.
        out: the run directory; it must be new or empty.

    Returns:
        ``run``, ``kind``, ``parameters``, ``epochs`` of training and the last ``recorded_loss``.

    Raises:
        KetformerError: the directory is not empty or in use, or the file is not such a checkpoint.
    """
    file, out = Path(file), Path(out)
    if out.exists() and (not out.is_dir() or contents(out)):
        raise KetformerError(f"{out} exists; choose another --out")
    model, recorded = from_published(file)
    if model.config.vocab_size != len(QM9_VOCABULARY):
        raise KetformerError(
            f"{file}: {model.config.vocab_size} tokens, but QM9 has {len(QM9_VOCABULARY)}"
        )
    config = model.config
    tokenizer = smiles_tokenizer(QM9_VOCABULARY)
    tokenizer.model_max_length = config.max_position_embeddings
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    settings = _settings(model.config.to_dict())
    losses, training_losses = recorded["val_losses"] or [], recorded["training_losses"] or []
    manifest = make_manifest(
        data={"name": "qm9", "sha256": DATASETS["qm9"].sha256, "split": "published"},
        imported={
            "file": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "paper": "arXiv 2502.19214",
            **recorded,
        },
        attention=config.attention_name,
        parameters=model.num_parameters(),
        causal=model.is_causal,
    )
    with in_use(out):
        write_text(out / SETTINGS_FILE, yaml.safe_dump(settings, sort_keys=False))
        write_json(out / MANIFEST_FILE, manifest)
        epochs = zip(training_losses, losses, strict=False)
        write_metrics(
            out, [{"step": i + 1, "loss": a, "eval_loss": b} for i, (a, b) in enumerate(epochs)]
        )
        tokenizer.save_pretrained(out)
        model.save_pretrained(out)
        write_run_card(out, config)
    return {
        "run": str(out),
        "kind": recorded["kind"],
        "parameters": model.num_parameters(),
        "epochs": len(losses),
        "recorded_loss": losses[-1] if losses else None,
    }


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings that would train such a model, so that the run is like any other."""
    changes: dict[str, Any] = {
        "attention": config["attention"],
        "attention_options": config["attention_options"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"],
        "max_position_embeddings": config["max_position_embeddings"],
    }
    if config["condition_names"]:
        changes |= {
            "conditions": ",".join(config["condition_names"]),
            "standardise_conditions": False,
            "condition_unknown": False,
        }
    settings = load_settings("overlap-qm9").override(changes).to_dict()
    return {**settings, "name": "imported"}
