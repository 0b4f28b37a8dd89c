"""Optional packages, imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from ketformer.errors import KetformerError

_TITLES = {
    "braket": "the Amazon Braket SDK",
    "cudaq": "CUDA-Q",
    "pennylane": "PennyLane",
    "qiskit": "Qiskit",
    "qiskit_aer": "Qiskit Aer",
    "qiskit_ibm_runtime": "Qiskit's IBM Runtime",
}


def require_package(name: str, extra: str, needed_by: str | None = None) -> Any:
    """Import a package that an extra of Ketformer installs.

    Args:
        name: import name of the package.
        extra: name of the extra.
        needed_by: what needs the package, for the message; by default the backend that is
            called like the extra.

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
                f"{needed_by or f'the backend {extra}'} needs {title}: "
                f"pip install 'ketformer[{extra}]'"
            ) from None
        raise KetformerError(f"{title} is installed, but cannot be imported: {error}") from error
