"""``bench circuits``: circuits per second on every backend, against the closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ketformer.attention import Attention, TokenInputs
from ketformer.bench.machine import timed_machine
from ketformer.circuits.mechanisms import experiments, mechanism
from ketformer.errors import KetformerError
from ketformer.quantum import Experiment, measurement_settings
from ketformer.quantum.backends import open_backend
from ketformer.quantum.backends.registry import installed_backends
from ketformer.utils.progress import Bars
from ketformer.utils.timing import compared, interleaved

#: What is timed: a name, a mechanism and its sizes.
WORKS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("overlap scores", "overlap", {"hidden_size": 64, "n_qubits": 6}),
    ("qisa_a values", "qisa_a", {"hidden_size": 16}),
)
CLOSED = "closed form"


def bench_circuits(
    backends: Sequence[str] | None = None,
    *,
    length: int = 16,
    repeats: int = 5,
    progress: bool = True,
) -> dict[str, Any]:
    """Time the circuits of one sequence on each backend and in closed form, taking turns.

    Every backend builds its circuits once before timing, as in use.

    Args:
        backends: registry names; by default of all installed exact backends.
        length: tokens in the sequence.
        repeats: timings of each; the median counts.
        progress: show a bar on standard error.

    Returns:
        ``rows``: each with ``name`` (a backend, or the closed form), ``work``, ``ratio`` of
        its time to ``against``'s, ``median_ms``, ``low_ms`` and ``high_ms`` (all repeats lie
        between them), ``circuits_per_second`` and ``device``; ``machine``.

    Raises:
        KetformerError: a backend is unknown or not installed.
    """
    if length < 1 or repeats < 1:
        raise KetformerError("length and repeats must be positive")
    opened = {name: open_backend(name) for name in backends or installed_backends()}
    if backends is None:
        opened = {name: backend for name, backend in opened.items() if backend.is_exact}
    rows = []
    with Bars(progress, "round") as bars:
        for work, name, sizes in WORKS:
            attention = mechanism(name, **sizes)
            assert isinstance(attention, Attention)  # the works are some of those
            asked = [e for heads in experiments(attention, batch=1, length=length).values()
                     for e in heads]  # fmt: skip
            counted = sum(
                e.angles[..., 0].numel() * len(measurement_settings(e.strings)) for e in asked
            )
            timed: dict[str, Callable[[], Any]] = {CLOSED: _closed_form(attention, length)}
            for label, backend in opened.items():
                timed[label] = _on_backend(backend.expectations, asked)
            seconds = interleaved(timed, repeats, bars(work), f"circuits {work}")
            what = f"{work}, {counted} circuits of {asked[0].circuit.n_qubits} qubits"
            for row in compared(seconds, CLOSED, what, "cpu"):
                row["circuits_per_second"] = 1000 * counted / row["median_ms"]
                rows.append(row)
    for backend in opened.values():
        backend.close()
    return {"rows": rows, "repeats": repeats, "machine": timed_machine()}


def _closed_form(attention: Attention, length: int) -> Callable[[], Any]:
    states = torch.randn(
        1, length, attention.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    places = torch.arange(length)[None]
    tokens = TokenInputs(torch.zeros_like(places), places)

    @torch.inference_mode()
    def run() -> Any:
        query, key, value = attention.project(states, tokens)
        return query @ key.mT, value

    return run


def _on_backend(expectations: Callable[..., Any], asked: list[Experiment]) -> Callable[[], Any]:
    def run() -> None:
        for e in asked:
            expectations(e.circuit, e.angles, e.strings)

    return run
