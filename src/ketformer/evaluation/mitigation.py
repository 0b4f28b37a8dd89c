"""What error mitigation gains on a device: scores and loss before and after, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention.inputs import TokenInputs
from ketformer.attention.overlap import Overlap
from ketformer.evaluation.backend import (
    compare_with_exact,
    evaluation_sequences,
    planned_batches,
)
from ketformer.quantum import Circuit, PauliStrings
from ketformer.quantum.backends import Backend, Journal, open_backend
from ketformer.runs import Run
from ketformer.utils.progress import Bars

#: What is compared by default: nothing, each kind alone, and what they gain together.
KINDS = ("", "readout", "zne", "dd", "readout,zne", "readout,zne,dd")


def mitigation_study(
    run: Run,
    device: Any,
    *,
    kinds: Sequence[str] = KINDS,
    shots: int = 4000,
    limit: int = 2,
    tokens: int | None = None,
    seed: int = 0,
    journal: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained model on a noisy device, raw and with its errors mitigated.

    Idle qubits wait in every row, so that a simulated device lets them decay as a real one does.

    Args:
        run: an opened run with a quantum mechanism.
        device: a device of the ``qiskit`` backend, or its name.
        kinds: what to compare; see
            :class:`~ketformer.quantum.backends.mitigation.Mitigation`. The first is the baseline.
        shots: measurements of each circuit.
        limit: number of sequences from the test part.
        tokens: of each sequence, the first ones; all of them by default.
        seed: seed of the shots.
        journal: file that keeps what is measured, and from which a stopped study goes on.
        progress: show a bar on standard error.

    Returns:
        ``rows``, each with ``mitigation``; the root mean squared errors ``outcome_error`` of all
        expectations and ``score_error`` of the scores of ``overlap`` (None without them);
        ``mean_weight_difference``; ``loss``, ``exact_loss`` of the closed form, and ``loss_error``
        between them, over so many ``targets``; ``circuits``, and how many of them are
        ``extra_circuits`` compared with the first row. The rest says where the circuits ran.

    Raises:
        KetformerError: no circuits, or a device or kind that does not exist.
    """
    sequences, source = evaluation_sequences(run, limit=limit, progress=progress)
    sequences = sequences if tokens is None else sequences.first(tokens)
    rows: list[dict[str, Any]] = []
    where: dict[str, Any] = {}
    with ExitStack() as whole:
        book = None if journal is None else whole.enter_context(Journal(journal))
        bars = whole.enter_context(Bars(progress, "kind"))
        step = bars("mitigation")
        for kind in kinds:
            with ExitStack() as held:
                backend: Backend = held.enter_context(
                    open_backend(
                        "qiskit", device=device, shots=shots, seed=seed, mitigation=kind or None,
                        idle_times=True,
                    )
                )  # fmt: skip
                if book is not None:
                    planned = planned_batches(run.model, sequences, backend)
                    held.enter_context(book.keeping(backend, planned))
                outcomes = _Watched(backend)
                scores = held.enter_context(_watched_scores(run.model))
                found = compare_with_exact(run.model, sequences, outcomes)  # type: ignore[arg-type]
                where = backend.provenance()
            first = rows[0]["circuits"] if rows else found["circuits"]
            rows.append(
                {
                    "mitigation": kind or "none",
                    "outcome_error": outcomes.errors.root_mean_square,
                    "score_error": scores.root_mean_square,
                    "mean_weight_difference": found["mean_weight_difference"],
                    "loss": found["loss"],
                    "exact_loss": found["exact_loss"],
                    "loss_error": abs(found["loss"] - found["exact_loss"]),
                    "targets": found["targets"],
                    "circuits": found["circuits"],
                    "extra_circuits": found["circuits"] - first,
                    "seconds": found["seconds"],
                }
            )
            step(len(rows), len(kinds))
    kept = ("device", "calibration_date", "native_gates", "layouts", "shots")
    return {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        **source,
        "sequences": len(sequences),
        **{key: where[key] for key in kept},
        "rows": rows,
    }


class _Errors:
    """A running mean of squares."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, errors: Tensor) -> None:
        self.total += float(errors.double().square().sum())
        self.count += errors.numel()

    @property
    def root_mean_square(self) -> float | None:
        return math.sqrt(self.total / self.count) if self.count else None


class _Watched:
    """A backend whose expectations are compared with exact ones."""

    def __init__(self, backend: Backend) -> None:
        self._backend, self._exact = backend, open_backend("torch")
        self.errors = _Errors()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def expectations(self, circuit: Circuit, angles: Tensor, strings: PauliStrings) -> Tensor:
        found = self._backend.expectations(circuit, angles, strings)
        self.errors.add(found - self._exact.expectations(circuit, angles, strings))
        return found


@contextmanager
def _watched_scores(model: nn.Module) -> Iterator[_Errors]:
    """The errors of all scores that are measured meanwhile, for the hidden states as they are."""
    errors = _Errors()
    mechanisms = [module for module in model.modules() if isinstance(module, Overlap)]
    for mechanism in mechanisms:
        _watch_scores(mechanism, errors)
    try:
        yield errors
    finally:
        for mechanism in mechanisms:
            del mechanism.project_measured


def _watch_scores(mechanism: Overlap, errors: _Errors) -> None:
    measured = mechanism.project_measured

    def project_measured(
        hidden_states: Tensor, tokens: TokenInputs | None, outcomes: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = measured(hidden_states, tokens, outcomes)
        exact_query, exact_key, _ = mechanism.project(hidden_states, tokens)
        difference = mechanism.dot_scale(key.shape[-1]) * (
            query @ key.mT - exact_query @ exact_key.mT
        )
        row, column = torch.tril_indices(*difference.shape[-2:])
        errors.add(difference[..., row, column])
        return query, key, value

    mechanism.project_measured = project_measured  # type: ignore[method-assign]
