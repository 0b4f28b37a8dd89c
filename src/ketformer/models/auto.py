"""Registration with transformers' Auto classes, without importing transformers or the model.

transformers keeps the names of its configurations, models and tokenizers in tables and imports a
class on first use, from the module of ``transformers.models`` that is named after the model type.
Our names are added to the tables as soon as these are imported, and a package of ours, whose
exports are also imported on first use, stands in for that module. ``AutoModel.register`` would
need the classes themselves, at a time when transformers may be half imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple


class AutoNames(NamedTuple):
    """What the Auto classes are told of one model type.

    Attributes:
        model_type: ``model_type`` of the configuration.
        package: the package that exports the classes, on first use.
        configuration: name of the configuration.
        models: names of the models, by the table of transformers that they belong to.
        tokenizer: name of its tokenizer; None for one that its files name.
    """

    model_type: str
    package: str
    configuration: str
    models: Mapping[str, str]
    tokenizer: str | None = None


#: The decoder of this package.
OWN = AutoNames(
    "ketformer",
    "ketformer.models",
    "KetformerConfig",
    {"MODEL_MAPPING": "KetformerModel", "MODEL_FOR_CAUSAL_LM_MAPPING": "KetformerForCausalLM"},
    "KetformerTokenizer",
)


def register_with_transformers(known: Sequence[AutoNames] = (OWN,)) -> None:
    """Add our names to transformers' tables, now or as soon as they are imported."""
    for names in known:
        module = names.model_type.replace("-", "_")
        sys.modules[f"transformers.models.{module}"] = import_module(names.package)
    for table, add in _TABLES.items():
        then = partial(_add_all, add, known)
        if table in sys.modules:
            then(sys.modules[table])
        else:
            sys.meta_path.insert(0, _WhenImported(table, then))


_Add = Callable[[ModuleType, AutoNames], None]


def _add_all(add: _Add, known: Sequence[AutoNames], table: ModuleType) -> None:
    for names in known:
        add(table, names)


def _add_configuration(table: ModuleType, names: AutoNames) -> None:
    table.CONFIG_MAPPING_NAMES[names.model_type] = names.configuration


def _add_models(table: ModuleType, names: AutoNames) -> None:
    for name, model in names.models.items():
        getattr(table, f"{name}_NAMES")[names.model_type] = model
        # Built from the configuration names, perhaps before ours was added.
        getattr(table, name)._reverse_config_mapping[names.configuration] = names.model_type


def _add_tokenizer(table: ModuleType, names: AutoNames) -> None:
    if names.tokenizer is not None:
        table.TOKENIZER_MAPPING_NAMES[names.model_type] = names.tokenizer


_TABLES: dict[str, _Add] = {
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
