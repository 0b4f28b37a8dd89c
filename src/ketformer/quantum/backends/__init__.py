"""Where circuits run: our simulators, and other people's as extras, imported on first use."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ketformer.errors import KetformerError
from ketformer.quantum.backends.base import Backend, BackendOptions
from ketformer.quantum.noise import Noise

__all__ = ["BACKENDS", "Backend", "BackendOptions", "backend_class", "open_backend"]

#: Name to ``"module:class"``. A new backend is one file beside this and one line here.
BACKENDS: dict[str, str] = {
    "torch": "ketformer.quantum.backends.exact:TorchBackend",
    "shots": "ketformer.quantum.backends.exact:ShotsBackend",
    "cudaq": "ketformer.quantum.backends.cudaq:CudaQBackend",
    "pennylane": "ketformer.quantum.backends.pennylane:PennyLaneBackend",
    "qiskit": "ketformer.quantum.backends.qiskit:QiskitBackend",
}


def backend_class(name: str) -> type[Backend]:
    """The class behind a registry name.

    Raises:
        KetformerError: no backend has that name.
    """
    if name not in BACKENDS:
        raise KetformerError(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found


def open_backend(name: str, **options: Any) -> Backend:
    """Make a backend by its registry name.

    Args:
        name: a key of :data:`BACKENDS`.
        **options: ``shots``, ``noise`` and ``seed`` for each; a backend's own besides.
            ``noise`` may be a mapping of the fields of :class:`~ketformer.quantum.Noise`.

    Raises:
        KetformerError: an unknown name or option, or a package that is not installed; the
            message names the command that installs it.
    """
    cls = backend_class(name)
    own = inspect.signature(cls).parameters.values()
    known = [*BackendOptions.__annotations__, *(p.name for p in own if p.kind is p.KEYWORD_ONLY)]
    known = list(dict.fromkeys(known))
    if unknown := sorted(set(options) - set(known)):
        raise KetformerError(
            f"backend {name} has no option {', '.join(unknown)}; its options: {', '.join(known)}"
        )
    if isinstance(options.get("noise"), Mapping):
        options["noise"] = _noise(options["noise"])
    return cls(**options)


def _noise(given: Mapping[str, float]) -> Noise:
    known = [field.name for field in fields(Noise)]
    if unknown := sorted(set(given) - set(known)):
        raise KetformerError(f"unknown noise {', '.join(unknown)}; known: {', '.join(known)}")
    return Noise(**given)
