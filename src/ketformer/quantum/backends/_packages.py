"""Packages that come as extras, imported when something first needs them."""

from __future__ import annotations

import importlib
from typing import Any

from ketformer.errors import KetformerError

_TITLES = {
    "cudaq": "CUDA-Q",
    "pennylane": "PennyLane",
    "qiskit": "Qiskit",
    "qiskit_aer": "Qiskit Aer",
}


def require_package(name: str, extra: str) -> Any:
    """Import a package that an extra of Ketformer installs.

    Args:
        name: of the package, as one imports it.
        extra: the extra, which has the name of its backend.

    Returns:
        The module.

    Raises:
        KetformerError: the package is missing, or broken; the message names the remedy.
    """
    title = _TITLES.get(name, name)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name == name:
            raise KetformerError(
                f"the backend {extra} needs {title}: pip install 'ketformer[{extra}]'"
            ) from None
        raise KetformerError(f"{title} is installed, but cannot be imported: {error}") from error
