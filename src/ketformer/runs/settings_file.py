"""Settings from a preset or a YAML file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError
from ketformer.models import PRESETS, preset
from ketformer.runs.settings import Settings, checked_settings, own_keys
from ketformer.utils.mappings import read_yaml

# A run's directory is named after its settings.
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")


def load_settings(preset_or_path: str) -> Settings:
    """Load a preset, or a YAML file in the form of a run's ``settings.yaml``.

    Raises:
        KetformerError: neither exists, or a key or value in the file is wrong.
    """
    if preset_or_path in PRESETS:
        content = preset(preset_or_path)
        content.pop("description")
        return Settings(name=preset_or_path, **content)
    path = Path(preset_or_path)
    if path.suffix not in {".yaml", ".yml"} and not path.is_file():
        known = ", ".join(PRESETS)
        raise KetformerError(f"no preset or YAML file {preset_or_path!r}; presets: {known}")
    own, model, training = _read(path)
    with _naming(path):
        settings = Settings(name=_name_of(own, path.stem))
        return settings.override({**own, **model, **training})


def read_options(path: str | Path) -> dict[str, Any]:
    """The ``key: value`` pairs that a settings file gives, for :meth:`Settings.override`.

    Raises:
        KetformerError: it is missing or broken.
    """
    own, model, training = _read(Path(path))
    own.pop("name", None)
    return {**own, **model, **training}


def read_settings(path: Path) -> Settings:
    """Read the settings file of a run directory.

    Unlike :func:`load_settings`, this does not check the options of the model and of Trainer:
    the model has its own configuration, and another machine's Trainer may have other options.

    Raises:
        KetformerError: the file is missing or broken, or one of our own keys is wrong.
    """
    own, model, training = _read(path)
    with _naming(path):
        name = _name_of(own, "run")
        if unknown := [key for key in own if key not in own_keys()]:
            raise KetformerError(f"unknown setting {unknown[0]!r}")
        return Settings(name=name, model=model, training=training, **checked_settings(own))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A settings file in three parts: its own keys, the model's and the training's."""
    own = read_yaml(path)
    parts = [own.pop(key, {}) for key in ("model", "training")]
    for key, part in zip(("model", "training"), parts, strict=True):
        if not isinstance(part, dict):
            raise KetformerError(f"{path}: {key} must be a mapping of keys to values")
    for key in ("conditions", "standardise"):
        match own.get(key):
            case [_, *_] as listed if all(isinstance(n, str) and "," not in n for n in listed):
                own[key] = ",".join(listed)  # the natural form in YAML
    return own, *parts


def _name_of(own: dict[str, Any], default: str) -> str:
    """Remove the run's name from the settings and return it."""
    name = own.pop("name", default)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KetformerError(f"name must be a plain name, without slashes, got {name!r}")
    return name


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Prefix an error with the file it is in."""
    try:
        yield
    except KetformerError as error:
        raise KetformerError(f"{path}: {error}") from None
