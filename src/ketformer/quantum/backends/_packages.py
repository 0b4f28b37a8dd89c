"""Optional packages, imported on first use."""

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
        name: import name of the package.
        extra: name of the extra, which is also the name of its backend.

    Returns:
        The module.

    Raises:
        KetformerError: the package is missing or broken; the message says how to fix it.
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
