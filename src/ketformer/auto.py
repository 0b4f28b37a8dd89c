"""Registration with transformers' Auto classes that does not import transformers.

transformers knows a configuration by its ``model_type`` and a model by its configuration's class,
so two steps do. Our configuration is registered when transformers' table of configurations is
imported, which every Auto class does first; our model, when a configuration of ours is made
(:mod:`ketformer.models.configuration`), which comes before any model. Neither needs a module of
transformers that may be half imported at that time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_TABLE = "transformers.models.auto.configuration_auto"


def register_with_transformers() -> None:
    """Now, or as soon as transformers' table of configurations is imported."""
    if _TABLE in sys.modules:
        _register(sys.modules[_TABLE])
    else:
        sys.meta_path.insert(0, _WhenImported())


class _WhenImported(MetaPathFinder):
    """Finds nothing by itself; the table that others find is added to once it is there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TABLE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            _after(spec.loader)
        return spec


def _after(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _register(module)

    loader.exec_module = exec_module


def _register(table: ModuleType) -> None:
    configuration = import_module("ketformer.models.configuration").KetformerConfig
    table.AutoConfig.register(configuration.model_type, configuration, exist_ok=True)
