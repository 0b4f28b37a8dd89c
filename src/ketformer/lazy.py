"""Packages whose exports are imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        exports: name to the module that has it.
    """

    def get(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(import_module(exports[name]), name)
        setattr(sys.modules[package], name, found)  # the next time it is there
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports})

    return get, listed
