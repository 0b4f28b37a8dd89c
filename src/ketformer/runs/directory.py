"""Run directories: everything that a trained model needs, and where its numbers came from."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.card import CARD
from ketformer.models.checks import check_memory, complaint_about_weights, least_parameters
from ketformer.runs.settings import Settings
from ketformer.runs.settings_file import read_settings
from ketformer.tasks.metric import Task
from ketformer.tasks.saved_tokenizer import load_tokenizer
from ketformer.utils.files import json_line, write_text
from ketformer.utils.machine import describe_machine
from ketformer.utils.mappings import read_json

SETTINGS_FILE = "settings.yaml"
METRICS_FILE = "metrics.jsonl"
MANIFEST_FILE = "manifest.json"
EVALUATION_FILE = "evaluation.json"
CHECKPOINTS_FOLDER = "checkpoints"
SAMPLES_FOLDER = "samples"
WEIGHTS_FILE = "model.safetensors"

#: Version of the run directory format; raised when older versions could not read a new run.
FORMAT = 1

# Types of the manifest's values that are read.
_KINDS: dict[str, type] = {
    "format": int,
    "processes": int,
    "data": dict,
    "machine": dict,
    "resumed": list,
    "init": dict,
    "lora": dict,
    "early_stopping": dict,
}
_SAID = {int: "a whole number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True)
class Run:
    """A finished run, opened.

    Attributes:
        path: the run directory.
        model: in evaluation mode, on the GPU if there is one.
        tokenizer: the saved tokenizer.
        settings: the resolved settings of the training run.
        manifest: versions, commit, data hash, seed and hardware.
        weights_sha256: hash of the weights' file, to which every measurement of them is bound.
    """

    path: Path
    model: KetformerForCausalLM
    tokenizer: PreTrainedTokenizerFast
    settings: Settings
    manifest: dict[str, Any]
    weights_sha256: str

    @property
    def task(self) -> Task:
        """``text`` or ``molecules``."""
        return self.settings.task


def open_run(path: str | Path) -> Run:
    """Load a run directory.

    Raises:
        KetformerError: it is not a finished run, a file in it is broken or does not fit the
            others, or a newer Ketformer wrote it.
    """
    path = Path(path)
    if not path.is_dir():
        raise KetformerError(f"no run directory {str(path)!r}")
    if not (path / "model.safetensors").is_file():
        hint = "; resume its training first" if (path / SETTINGS_FILE).is_file() else ""
        raise KetformerError(f"{path}: no model.safetensors, so this is not a finished run{hint}")
    if not (path / "config.json").is_file():
        raise KetformerError(f"{path}: no config.json, so this is not a finished run")
    if not (path / MANIFEST_FILE).exists() and not (path / SETTINGS_FILE).exists():
        raise KetformerError(
            f"{path}: a saved model, but not a run: it has no {SETTINGS_FILE} and {MANIFEST_FILE}; "
            "copy these from the run that the model comes from, or load it in Python with "
            "AutoModelForCausalLM.from_pretrained"
        )
    manifest = read_manifest(path)
    settings = read_settings(path / SETTINGS_FILE)
    tokenizer = load_tokenizer(path)
    model, sha256 = _load_model(path, tokenizer), weights_sha256(path)
    tokenizer.model_max_length = model.config.max_position_embeddings
    if settings.task == "molecules" and tokenizer.eos_token_id is None:
        raise KetformerError(f"{path}: a model of molecules, but not a SMILES tokenizer")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Run(path, model.to(device).eval(), tokenizer, settings, manifest, str(sha256))


def weights_sha256(path: Path) -> str | None:
    """The SHA-256 of a run's weights; None if it has none, because its training is unfinished."""
    file = path.resolve() / WEIGHTS_FILE
    try:
        found = file.stat()
    except OSError:
        return None
    return _sha256(file, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(file: Path, *version: int) -> str:
    """The hash of a version of a file, which is read only once."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory.

    Raises:
        KetformerError: it is missing, broken, or written by a newer version.
    """
    manifest = read_json(path / MANIFEST_FILE)
    for key, kind in _KINDS.items():
        if not isinstance(manifest.get(key, kind()), kind):
            raise KetformerError(
                f"{path / MANIFEST_FILE}: {key} must be {_SAID[kind]}, got {manifest[key]!r}"
            )
    for row in manifest.get("resumed", []):
        if not _is_resume(row):
            raise KetformerError(
                f"{path / MANIFEST_FILE}: resumed must list steps and what changed, got {row!r}"
            )
    found = manifest.get("format", 1)  # the first manifests had no format
    if found > FORMAT:
        raise KetformerError(
            f"{path}: written by a newer Ketformer (run format {found}); this version reads "
            f"formats up to {FORMAT}: upgrade Ketformer"
        )
    return manifest


def changes_on_the_way(manifest: Mapping[str, Any]) -> list[str]:
    """What changed where the run was resumed, in words; see :func:`read_manifest`."""
    said = []
    for row in manifest.get("resumed", []):
        changed = row["changed"]
        for name in changed:
            values = ""  # older manifests list only the names
            if isinstance(changed, dict):
                values = " from {} to {}".format(*changed[name])
            said.append(f"{name} changed at step {row['step']}{values}")
    return said


def _is_resume(row: object) -> bool:
    """Whether an entry of ``resumed`` is a step and the options that changed there."""
    match row:
        case {"step": int(), "changed": [*names]}:
            return all(isinstance(name, str) for name in names)
        case {"step": int(), "changed": dict(changed)}:
            return all(isinstance(pair, list) and len(pair) == 2 for pair in changed.values())
    return False


def save_model(
    out: Path,
    model: KetformerForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write the files that make a run finished; the weights appear last, and whole.

    Args:
        out: the run directory.
        model: the trained model.
        tokenizer: the run's tokenizer.
        weights: gathered from all processes, if the model holds only a part of them.

    Raises:
        OSError, SafetensorError: a file cannot be written.
    """
    part = out / ".model.part"
    shutil.rmtree(part, ignore_errors=True)  # left by a killed process
    tokenizer.model_max_length = model.config.max_position_embeddings
    try:
        tokenizer.save_pretrained(part)
        model.save_pretrained(part, state_dict=weights)
        (part / CARD).unlink()  # a run's own card says more
        for file in sorted(part.iterdir(), key=lambda file: file.name == WEIGHTS_FILE):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _load_model(path: Path, tokenizer: PreTrainedTokenizerFast) -> KetformerForCausalLM:
    if (kind := read_json(path / "config.json").get("model_type")) != KetformerConfig.model_type:
        raise KetformerError(f"{path}/config.json: describes a {kind!r} model, not a Ketformer one")
    try:
        config = KetformerConfig.from_pretrained(str(path), local_files_only=True)
    except KetformerError as error:
        raise KetformerError(f"{path}/config.json: {error}") from None
    except Exception as error:  # transformers raises many kinds
        raise KetformerError(f"{path}/config.json: {_flat(error)}") from None
    if len(tokenizer) != config.vocab_size:
        raise KetformerError(
            f"{path}: the tokenizer has {len(tokenizer):,} tokens, but the model has "
            f"{config.vocab_size:,}"
        )
    held = (path / "model.safetensors").stat().st_size
    if (needed := least_parameters(config)) > held:  # checked before they are allocated
        raise KetformerError(
            f"{path}: config.json asks for at least {needed:,} weights, but model.safetensors has "
            f"{held:,} bytes"
        )
    check_memory(config)
    model: KetformerForCausalLM
    try:
        model, found = KetformerForCausalLM.from_pretrained(
            str(path),
            config=config,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
        )
    except KetformerError as error:
        raise KetformerError(f"{path}: {error}") from None
    except Exception as error:  # safetensors and transformers raise many kinds
        raise KetformerError(f"{path}: the model cannot be loaded ({_flat(error)})") from None
    if missing := sorted(found["missing_keys"]):  # transformers would initialise them at random
        raise KetformerError(f"{path}/model.safetensors lacks {', '.join(missing)}")
    if bad := complaint_about_weights(model):
        raise KetformerError(f"{path}/model.safetensors: {bad}")
    return model


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; an unfinished last line is left out."""
    file = path / METRICS_FILE
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the process was killed while it wrote this line
    return rows


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The evaluation saved in a run directory; None if there is none of its present weights.

    Raises:
        KetformerError: the file is broken.
    """
    sha256 = weights_sha256(path)
    if sha256 is None or not (path / EVALUATION_FILE).is_file():
        return None
    found = read_json(path / EVALUATION_FILE)
    return found if found.get("weights_sha256") == sha256 else None


def write_metrics(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace a run's ``metrics.jsonl``."""
    write_text(path / METRICS_FILE, "".join(json_line(row) for row in rows))


def make_manifest(**facts: Any) -> dict[str, Any]:
    """A manifest of the given facts, the time, the commit and the machine."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "format": FORMAT,
        "created": now,
        "commit": _commit(),
        **facts,
        "machine": describe_machine(),
    }


@cache  # git takes longer than a short run; what is imported stays as it is
def _commit() -> str | None:
    """The commit of the checkout that Ketformer runs from, if any."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        listed = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", __file__],
            capture_output=True,
            check=False,
        )
        if listed.returncode:  # installed inside somebody else's repository
            return None
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
