"""The registry of backends.

To add one, put a file beside this one and a line in `BACKENDS`, or declare an entry point in
another package.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ketformer.errors import KetformerError
from ketformer.utils.registry import Registry

# The names alone need no torch, which takes a second to import.
if TYPE_CHECKING:
    from ketformer.quantum.backends.base import Backend
    from ketformer.quantum.noise import Noise


def _check(name: str, found: Any) -> None:
    from ketformer.quantum.backends.base import Backend

    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise KetformerError(f"backend {name!r}: {found!r} is not a subclass of Backend")


#: Every backend by name, including those of other packages (:mod:`ketformer.utils.registry`).
BACKENDS: Registry[type[Backend]] = Registry(
    "backend",
    "ketformer.backends",
    __name__,
    {
        "torch": "ketformer.quantum.backends.exact:TorchBackend",
        "shots": "ketformer.quantum.backends.exact:ShotsBackend",
        "cudaq": "ketformer.quantum.backends.cudaq:CudaQBackend",
        "pennylane": "ketformer.quantum.backends.pennylane:PennyLaneBackend",
        "qiskit": "ketformer.quantum.backends.qiskit:QiskitBackend",
        "braket": "ketformer.quantum.backends.braket:BraketBackend",
    },
    _check,
)


def backend_class(name: str) -> type[Backend]:
    """The class behind a registry name.

    Raises:
        KetformerError: no backend has that name, or its package cannot be imported.
    """
    return BACKENDS.load(name)


def installed_backends() -> list[str]:
    """Names of the backends whose packages are installed."""
    return [name for name, cls in BACKENDS.loaded() if cls.is_installed()]


def open_backend(name: str, **options: Any) -> Backend:
    """Create a backend by its registry name.

    Args:
        name: a key of :data:`BACKENDS`.
        **options: ``shots``, ``noise``, ``seed`` and the backend's own options. ``noise`` may
            be a mapping with the fields of :class:`~ketformer.quantum.Noise`. An option that is a
            mapping may be given entry by entry, as ``device_options:batch_obs``, which is how
            the command line does.

    Raises:
        KetformerError: an unknown name or option, or a package that is not installed; the
            message names the command that installs it.
    """
    from ketformer.quantum.backends.base import BackendOptions

    cls = backend_class(name)
    options = _nested(options)
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


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    out = {key: value for key, value in options.items() if ":" not in key}
    for key, value in options.items():
        outer, colon, inner = key.partition(":")
        if colon:
            out[outer] = {**(out.get(outer) or {}), inner: value}
    return out


def _noise(given: Mapping[str, float]) -> Noise:
    from ketformer.quantum.noise import Noise

    known = [field.name for field in fields(Noise)]
    if unknown := sorted(set(given) - set(known)):
        raise KetformerError(f"unknown noise {', '.join(unknown)}; known: {', '.join(known)}")
    return Noise(**given)
