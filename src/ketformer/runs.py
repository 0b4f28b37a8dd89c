"""Run directories: everything that a trained model needs and that its numbers came from."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.tasks.text import load_tokenizer

SETTINGS = "settings.yaml"
METRICS = "metrics.jsonl"
MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"
SAMPLES = "samples"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Run:
    """A finished run, opened.

    Attributes:
        path: the run directory.
        model: in evaluation mode, on the GPU if there is one.
        tokenizer: as it was saved.
        settings: the resolved settings of the training run.
        manifest: versions, commit, data hash, seed and hardware.
    """

    path: Path
    model: KetformerForCausalLM
    tokenizer: PreTrainedTokenizerFast
    settings: dict[str, Any]
    manifest: dict[str, Any]


def open_run(path: str | Path) -> Run:
    """Load a run directory.

    Raises:
        KetformerError: it is not a finished run, or a file in it is broken.
    """
    path = Path(path)
    if not path.is_dir():
        raise KetformerError(f"no run directory {str(path)!r}")
    if not (path / "model.safetensors").is_file():
        hint = "; resume its training first" if (path / SETTINGS).is_file() else ""
        raise KetformerError(f"{path}: no model.safetensors, so this is not a finished run{hint}")
    if not (path / "config.json").is_file():
        raise KetformerError(f"{path}: no config.json, so this is not a finished run")
    tokenizer = load_tokenizer(path)
    model = _load_model(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Run(
        path,
        model.to(device).eval(),
        tokenizer,
        read_yaml(path / SETTINGS),
        read_json(path / MANIFEST),
    )


def save_model(out: Path, model: KetformerForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write what makes a run a finished one; its weights appear last, and whole.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    part = out / ".model.part"
    shutil.rmtree(part, ignore_errors=True)  # a killed process left it
    try:
        tokenizer.save_pretrained(part)
        model.save_pretrained(part)
        for file in sorted(part.iterdir(), key=lambda file: file.name == WEIGHTS):
            file.replace(out / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _load_model(path: Path) -> KetformerForCausalLM:
    try:
        config = KetformerConfig.from_pretrained(str(path))
    except KetformerError as error:
        raise KetformerError(f"{path}/config.json: {error}") from None
    except OSError as error:  # transformers says so of broken JSON
        raise KetformerError(f"{path}/config.json: {_flat(error)}") from None
    model: KetformerForCausalLM
    try:
        model, found = KetformerForCausalLM.from_pretrained(
            str(path), config=config, output_loading_info=True
        )
    except KetformerError as error:
        raise KetformerError(f"{path}: {error}") from None
    except Exception as error:  # safetensors and transformers raise many kinds
        raise KetformerError(f"{path}: the model cannot be loaded ({_flat(error)})") from None
    if missing := sorted(found["missing_keys"]):  # transformers would draw them anew
        raise KetformerError(f"{path}/model.safetensors lacks {', '.join(missing)}")
    return model


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file.

    Raises:
        KetformerError: the file is missing, broken or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KetformerError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise KetformerError(f"{path}: expected a mapping of keys to values")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        KetformerError: the file is missing, broken or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KetformerError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise KetformerError(f"{path}: expected a JSON object")
    return content


def write_text(path: Path, content: str) -> None:
    """Write a file so that it is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def json_line(row: dict[str, Any]) -> str:
    """One line of a ``.jsonl`` file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; an unfinished last line is left out."""
    file = path / METRICS
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the process was killed while it wrote this line
    return rows


def write_metrics(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace a run's ``metrics.jsonl``."""
    write_text(path / METRICS, "".join(json_line(row) for row in rows))


def describe_machine() -> dict[str, Any]:
    """Hardware and versions, for a manifest or a result file."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            name: _version(name)
            for name in ("ketformer", "torch", "transformers", "accelerate", "tokenizers")
        },
    }


def make_manifest(**facts: Any) -> dict[str, Any]:
    """When, where, with what: the given facts, the time, the commit and the machine."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"created": now, "commit": _commit(), **facts, "machine": describe_machine()}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that Ketformer itself runs from, if it runs from a checkout."""
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
