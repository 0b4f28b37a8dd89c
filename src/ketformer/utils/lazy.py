"""Packages whose exports are imported on first use."""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` (PEP 562) and ``__all__`` of a package.

    The exports are what the package imports under ``if TYPE_CHECKING:``, so type checkers and
    the running program read one list.

    Args:
        package: its ``__name__``.
    """
    module_of = _imported_for_type_checkers(package)

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with collector_paused():
            found = getattr(import_module(module_of[name]), name)
        setattr(sys.modules[package], name, found)  # the next access does not come here
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, listed, sorted(module_of)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for garbage in the block, for imports: what they make stays.

    To go through it again and again would take a fifth of the time of importing a model.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _imported_for_type_checkers(package: str) -> dict[str, str]:
    """Each exported name with the module it is imported from."""
    spec: Any = sys.modules[package].__spec__
    # Not by the loader: pytest's own, for installed plugins, has no source to give.
    source = Path(spec.origin).read_bytes()
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    return {
        alias.name: str(statement.module)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
