"""Check that every backend gives the same results for the mechanisms' circuits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ketformer.attention import attention_class
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.circuits.mechanisms import experiments, mechanism, require_circuits
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment
from ketformer.quantum.backends import BACKENDS, open_backend
from ketformer.quantum.backends.base import Backend
from ketformer.quantum.backends.registry import installed_backends
from ketformer.utils.progress import Bars

#: Largest difference from exact simulation that counts as agreement.
TOLERANCE = 1e-6
_REFERENCE = "torch"


def check_backends(
    backends: Sequence[str] | None = None,
    mechanisms: Sequence[str] | None = None,
    *,
    draws: int = 200,
    qubits: tuple[int, int] = (2, 10),
    layers: tuple[int, int] = (1, 3),
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare each backend's exact outcomes with ours, on the circuits of every mechanism.

    Sizes cycle from the smallest to the largest; every circuit gets new random angles.

    Args:
        backends: registry names; by default every installed one that gives exact outcomes.
        mechanisms: registry names; by default those with circuits of their own.
        draws: circuits per mechanism, each with one row of random angles.
        qubits: smallest and largest register, not counting an ancilla.
        layers: fewest and most layers, for mechanisms that have them.
        seed: seed of the angles.
        progress: show progress bars on standard error.

    Returns:
        ``rows``: for each backend and mechanism ``draws``, ``outcomes`` compared and
        ``max_difference``; ``agree``: whether all are within ``tolerance``; ``provenance``: what
        each backend says of where its results come from.
    """
    if mechanisms is None:
        mechanisms = mechanisms_with_circuits(distinct=True)
    for name in mechanisms:
        require_circuits(name)
    opened = _exact_backends() if backends is None else {n: open_backend(n) for n in backends}
    for name, backend in opened.items():
        if not backend.is_exact:
            raise KetformerError(f"the backend {name} is not exact; known: {', '.join(BACKENDS)}")
    rows = []
    with Bars(progress, "circuit") as bars, open_backend(_REFERENCE) as ours:
        for name in mechanisms:
            drawn = _draws(name, draws, qubits, layers, seed)
            truth = [ours.expectations(e.circuit, e.angles, e.strings) for e in drawn]
            for label, backend in opened.items():
                step, worst = bars(f"{name} on {label}"), 0.0
                for i, (e, expected) in enumerate(zip(drawn, truth, strict=True)):
                    got = backend.expectations(e.circuit, e.angles, e.strings)
                    worst = max(worst, float((got - expected).abs().max()))
                    step(i + 1, len(drawn))
                rows.append(
                    {
                        "backend": label,
                        "mechanism": name,
                        "draws": len(drawn),
                        "outcomes": sum(t.numel() for t in truth),
                        "max_difference": worst,
                    }
                )
    provenance = {label: backend.provenance() for label, backend in opened.items()}
    for backend in opened.values():
        backend.close()
    return {
        "rows": rows,
        "provenance": provenance,
        "agree": all(row["max_difference"] <= TOLERANCE for row in rows),
        "tolerance": TOLERANCE,
        "qubits": list(qubits),
        "layers": list(layers),
        "seed": seed,
    }


def _draws(
    name: str, draws: int, qubits: tuple[int, int], layers: tuple[int, int], seed: int
) -> list[Experiment]:
    """``draws`` experiments with one row of angles in ±2π each, cycling through the sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [
        (n, layer)
        for n in range(qubits[0], qubits[1] + 1)
        for layer in range(layers[0], layers[1] + 1)
    ]
    kinds: dict[tuple[int, int], list[Experiment]] = {}
    out: list[Experiment] = []
    while len(out) < draws:
        size = sizes[len(out) % len(sizes)]
        if size not in kinds:
            kinds[size] = _forms(name, *size)
        choice = kinds[size][len(out) // len(sizes) % len(kinds[size])]
        angles = torch.rand(1, choice.angles.shape[-1], generator=generator, dtype=torch.float64)
        out.append(Experiment(choice.circuit, (2 * angles - 1) * 2 * torch.pi, choice.strings))
    return out


def _forms(name: str, n_qubits: int, layers: int) -> list[Experiment]:
    """Every form of a mechanism's circuits at that size."""
    sizes = attention_class(name).circuit_sizes(n_qubits, layers)
    found = (experiments(mechanism(name, **each), batch=1, length=1) for each in sizes)
    return [heads[0] for one in found for heads in one.values()]


def _exact_backends() -> dict[str, Backend]:
    """Every installed backend that gives exact outcomes, except our reference."""
    opened = {name: open_backend(name) for name in installed_backends() if name != _REFERENCE}
    exact = {name: backend for name, backend in opened.items() if backend.is_exact}
    if not exact:
        raise KetformerError(
            "no other exact backend is installed: pip install 'ketformer[pennylane,qiskit]'"
        )
    return exact
