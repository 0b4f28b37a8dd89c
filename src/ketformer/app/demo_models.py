"""The models that the page starts with by default, trained once and cached."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from ketformer.errors import KetformerError
from ketformer.runs import Settings, load_settings, open_run
from ketformer.training import train
from ketformer.utils.files import cache_folder

#: Settings of each run by its name; each trains in a minute on one processor core.
DEMO_MODELS: dict[str, Settings] = {
    "demo-text": load_settings("demo").override(
        {"attention": "qisa", "max_steps": 1200, "eval_steps": 1200, "save_steps": 100}
    ),
    "demo-molecules": load_settings("demo-molecules").override(
        {
            "attention": "overlap",
            "conditions": "LogP,TPSA,MW",
            "condition_pdrop": 0.3,
            "max_steps": 1600,
            "eval_steps": 1600,
            "save_steps": 100,
        }
    ),
}


def demo_runs(*, progress: bool = True) -> list[Path]:
    """The run directories of the demo models, which are trained if missing.

    They lie in the user's cache, in folders named after a hash of the version and the settings.
    A killed training resumes from its last checkpoint, and only finished runs are used.

    Args:
        progress: show bars on standard error.
    """
    return [_demo_run(name, settings, progress) for name, settings in DEMO_MODELS.items()]


def _demo_run(name: str, settings: Settings, progress: bool) -> Path:
    told = json.dumps([version("ketformer"), settings.to_dict()], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:12]
    out = cache_folder() / "app" / f"{name}-{key}" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.parent / ".lock"):  # a second page started meanwhile waits
        if (out / "model.safetensors").exists():
            try:
                open_run(out)
            except KetformerError:  # damaged: train again
                shutil.rmtree(out)
        if not (out / "model.safetensors").exists():
            train(settings, out, resume=True, progress=progress, label=name)
    return out
