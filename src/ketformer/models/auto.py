"""Registration with transformers' Auto classes, without importing transformers or the model.

transformers keeps the names of its configurations, models and tokenizers in tables and imports a
class on first use, from the module of ``transformers.models`` that is named after the model type.
Our names are added to the tables as soon as these are imported, and :mod:`ketformer.models`, whose
exports are also imported on first use, stands in for that module. ``AutoModel.register`` would
need the classes themselves, at a time when transformers may be half imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_TYPE = "ketformer"  # KetformerConfig.model_type
_CONFIGURATION = "KetformerConfig"
_TOKENIZER = "KetformerTokenizer"
_MODELS = {
    "MODEL_MAPPING": "KetformerModel",
    "MODEL_FOR_CAUSAL_LM_MAPPING": "KetformerForCausalLM",
}


def register_with_transformers() -> None:
    """Add our names to transformers' tables, now or as soon as they are imported."""
    sys.modules[f"transformers.models.{_TYPE}"] = import_module("ketformer.models")
    for module, add in _TABLES.items():
        if module in sys.modules:
            add(sys.modules[module])
        else:
            sys.meta_path.insert(0, _WhenImported(module, add))


def _add_configuration(table: ModuleType) -> None:
    table.CONFIG_MAPPING_NAMES[_TYPE] = _CONFIGURATION


def _add_models(table: ModuleType) -> None:
    for name, model in _MODELS.items():
        getattr(table, f"{name}_NAMES")[_TYPE] = model
        # Built from the configuration names, perhaps before ours was added.
        getattr(table, name)._reverse_config_mapping[_CONFIGURATION] = _TYPE


def _add_tokenizer(table: ModuleType) -> None:
    table.TOKENIZER_MAPPING_NAMES[_TYPE] = _TOKENIZER


_TABLES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _add_configuration,
    "transformers.models.auto.modeling_auto": _add_models,
    "transformers.models.auto.tokenization_auto": _add_tokenizer,
}


class _WhenImported(MetaPathFinder):
    """An import hook that calls ``then`` with a module as soon as it has been executed."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            _call_after(spec.loader, self.then)
        return spec


def _call_after(loader: Any, then: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        then(module)

    loader.exec_module = exec_module
