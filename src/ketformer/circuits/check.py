"""Whether every backend computes the mechanisms' circuits alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ketformer.circuits.mechanisms import QUANTUM, experiments, mechanism
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment
from ketformer.quantum.backends import BACKENDS, open_backend
from ketformer.utils.progress import Bars

#: Largest difference from exact simulation that counts as agreement.
TOLERANCE = 1e-6
_EXACT = ("cudaq", "pennylane", "qiskit")


def check_backends(
    backends: Sequence[str] = _EXACT,
    mechanisms: Sequence[str] = QUANTUM,
    *,
    draws: int = 200,
    qubits: tuple[int, int] = (2, 10),
    layers: tuple[int, int] = (1, 3),
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Compare each backend's exact outcomes with ours, on the circuits of every mechanism.

    Sizes go round from the smallest to the largest; angles are drawn anew each time.

    Args:
        backends: registry names.
        mechanisms: registry names.
        draws: circuits of each mechanism, one row of random angles each.
        qubits: smallest and largest register, an ancilla aside.
        layers: fewest and most layers, of the mechanisms that have them.
        seed: of the angles.
        progress: show bars on standard error.

    Returns:
        ``rows``: for each backend and mechanism ``draws``, ``outcomes`` compared and
        ``max_difference``; ``agree``: whether all are within ``tolerance``.
    """
    for name in mechanisms:
        if name not in QUANTUM:
            raise KetformerError(f"no circuits in {name}; known: {', '.join(QUANTUM)}")
    opened = {name: open_backend(name) for name in backends}
    for name, backend in opened.items():
        if not backend.is_exact:
            raise KetformerError(f"the backend {name} is not exact; of {', '.join(BACKENDS)}")
    rows = []
    with Bars(progress, "circuit") as bars, open_backend("torch") as ours:
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
    for backend in opened.values():
        backend.close()
    return {
        "rows": rows,
        "agree": all(row["max_difference"] <= TOLERANCE for row in rows),
        "tolerance": TOLERANCE,
        "qubits": list(qubits),
        "layers": list(layers),
        "seed": seed,
    }


def _draws(
    name: str, draws: int, qubits: tuple[int, int], layers: tuple[int, int], seed: int
) -> list[Experiment]:
    """That many experiments of one row, over all sizes in turn, with angles of any size."""
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
            kinds[size] = _kinds(name, *size)
        choice = kinds[size][len(out) // len(sizes) % len(kinds[size])]
        angles = torch.rand(1, choice.angles.shape[-1], generator=generator, dtype=torch.float64)
        out.append(Experiment(choice.circuit, (2 * angles - 1) * 2 * torch.pi, choice.strings))
    return out


def _kinds(name: str, n: int, layers: int) -> list[Experiment]:
    """Every form that a mechanism's circuits have at that size."""
    wanted: list[dict[str, Any]]
    if name == "overlap":
        wanted = [{"n_qubits": n, "layers": layers}]
        # The published forms: two registers, or three with conditions.
        for count, n_conditions in ((2, 0), (3, 9)):
            if n % count == 0:
                embedded = {"angles": "embedding", "n_conditions": n_conditions}
                wanted.append({**wanted[0], **embedded})
    elif name == "qisa":
        wanted = [{"hidden_size": 8, "hilbert_dim": 2**n}]
    else:
        wanted = [{"hidden_size": 2**n, "num_heads": max(2**n // 8, 1), "layers": layers}]
    if name == "qsann":
        angle = {"encoding": "angle", "n_qubits": n, "query_observables": "pauli"}
        wanted.append({"hidden_size": 3 * n, "num_heads": 3, "layers": layers, **angle})
    found = (experiments(mechanism(name, **sizes), batch=1, length=1) for sizes in wanted)
    return [heads[0] for one in found for heads in one.values()]
