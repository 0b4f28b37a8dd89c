"""A trained model with its circuits run on a backend, next to the same model in closed form."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ketformer.attention.measured import measured_by, quantum_mechanisms
from ketformer.errors import KetformerError
from ketformer.evaluation.molecules import evaluation_rows
from ketformer.evaluation.text import evaluation_windows
from ketformer.models import KetformerForCausalLM
from ketformer.quantum import Experiment
from ketformer.quantum.backends import Backend, Journal
from ketformer.quantum.gradients import outcomes_of
from ketformer.runs import Run
from ketformer.tasks.losses import total_loss
from ketformer.utils.progress import Bars

#: Sequences measured by default: circuits are slow.
LIMIT = 16


@dataclass(frozen=True)
class Sequences:
    """Sequences with their targets; -100 marks a position without one.

    Attributes:
        inputs: the model's inputs by name, ``[N, …]``.
        targets: ``[N, T]``.
    """

    inputs: dict[str, Tensor]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def first(self, tokens: int) -> Sequences:
        """The first tokens of each sequence."""
        inputs = {**self.inputs, "input_ids": self.inputs["input_ids"][:, :tokens]}
        return Sequences(inputs, self.targets[:, :tokens])

    def row(self, index: int) -> Sequences:
        """One sequence without its trailing padding."""
        targets = self.targets[index : index + 1]
        length = int((targets != -100).nonzero()[:, 1].max()) + 1
        inputs = {key: value[index : index + 1] for key, value in self.inputs.items()}
        inputs["input_ids"] = inputs["input_ids"][:, :length]
        return Sequences(inputs, targets[:, :length])


def evaluate_on_backend(
    run: Run,
    backend: Backend,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    journal: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained model with every circuit of its attention run on a backend.

    Sequences run one at a time, without padding, and so does the closed form they are compared
    with. This matters only for ``published_scaling``.

    Args:
        run: an opened run with a quantum mechanism.
        backend: where the circuits run, with its shots and noise.
        data: a data set or path; by default the run's training data.
        split: as in :func:`~ketformer.evaluation.evaluate`.
        limit: number of sequences; 16 by default.
        journal: file that keeps each batch of circuits as soon as it is measured, and from which
            a stopped evaluation goes on; see :mod:`ketformer.quantum.backends.journal`.
        progress: show a bar on standard error.

    Returns:
        ``loss`` as measured and ``exact_loss`` of the closed form, both in nats per target
        without padding; ``logit_difference`` and ``weight_difference``, the largest absolute
        differences, and their means as ``mean_…``; the number of ``circuits`` run and the
        ``seconds`` they took; ``measurement``, where a mechanism offers several; and where they
        ran, see :meth:`~ketformer.quantum.backends.Backend.provenance`. With a journal,
        ``circuits`` includes ``circuits_found`` in it.

    Raises:
        KetformerError: the attention has no circuits, the data do not fit, the backend is a device
            without shots, or the journal cannot be used: there are no shots, or see
            :class:`~ketformer.quantum.backends.Journal`.
    """
    backend.require_outcomes()
    if journal is not None and backend.shots is None:
        raise KetformerError(f"a journal keeps shots, and {backend.name} has none: set shots")
    rows, source = evaluation_sequences(run, data=data, split=split, limit=limit, progress=progress)
    with ExitStack() as held:
        book = None if journal is None else held.enter_context(Journal(journal))
        if book is not None:
            held.enter_context(book.keeping(backend, planned_batches(run.model, rows, backend)))
        bars = held.enter_context(Bars(progress, "sequence"))
        compared = compare_with_exact(run.model, rows, backend, bars(f"on {backend.name}"))
    kept = {} if book is None else {"journal": str(journal), "circuits_found": book.circuits_found}
    noise = backend.noise
    return {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        "parameters": run.model.num_parameters(),
        **source,
        "sequences": len(rows),
        "backend": backend.name,
        "noise_one_qubit": noise.one_qubit,
        "noise_two_qubit": noise.two_qubit,
        "noise_readout": noise.readout,
        "measurement": _measurement(run.model),
        **compared,
        **kept,
    }


def _measurement(model: KetformerForCausalLM) -> str | None:
    """How the scores are measured, the same in all layers that can be measured in several ways."""
    return next((m.measurement for m in quantum_mechanisms(model) if m.measurements), None)


def evaluation_sequences(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> tuple[Sequences, dict[str, str]]:
    """The first sequences of a run's evaluation data, for either task, and their source.

    Raises:
        KetformerError: the attention has no circuits, or the data do not fit.
    """
    quantum_mechanisms(run.model)
    limit = LIMIT if limit is None else limit
    if run.task != "molecules":
        windows, source = evaluation_windows(
            run, data=data, split=split, limit=limit, progress=progress
        )
        batch = windows.all()
        return Sequences({"input_ids": batch["input_ids"]}, batch["shift_labels"]), source
    molecules, _, source = evaluation_rows(
        run, data=data, split=split, limit=limit, progress=progress
    )
    batch = molecules.batch(list(range(len(molecules))))
    targets = batch.pop("shift_labels")
    targets = targets.masked_fill(targets == molecules.pad_token_id, -100)
    return Sequences(batch, targets), source


@torch.no_grad()
def planned_batches(model: KetformerForCausalLM, rows: Sequences, backend: Backend) -> int | None:
    """Batches of circuits that measuring the sequences takes; None if that is not known."""
    planned: list[int | None] = []

    def count(experiment: Experiment) -> Tensor:
        planned.append(backend.batches(experiment.strings))
        return experiment.angles.new_zeros(*experiment.angles.shape[:-1], len(experiment.strings))

    with measured_by(model, count):
        for index in range(len(rows)):
            inputs = rows.row(index).inputs
            model(**{key: value.to(model.device) for key, value in inputs.items()}, use_cache=False)
    return None if None in planned else sum(filter(None, planned))


@torch.no_grad()
def compare_with_exact(
    model: KetformerForCausalLM,
    rows: Sequences,
    backend: Backend,
    step: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Losses and differences; see :func:`evaluate_on_backend`."""
    expect = outcomes_of(backend)
    sums = {"loss": 0.0, "exact_loss": 0.0}
    targets = 0
    worst = {"logit_difference": 0.0, "weight_difference": 0.0}
    means = dict.fromkeys(worst, 0.0)
    before, seconds = backend.circuits_run, 0.0
    for index in range(len(rows)):
        row = rows.row(index)
        inputs = {key: value.to(model.device) for key, value in row.inputs.items()}
        exact = model(**inputs, use_cache=False, output_attentions=True)
        began = time.perf_counter()
        with measured_by(model, expect):
            measured = model(**inputs, use_cache=False, output_attentions=True)
        seconds += time.perf_counter() - began
        labels = row.targets.to(model.device)
        for key, out in (("loss", measured), ("exact_loss", exact)):
            sums[key] += float(total_loss(out.logits, labels))
        targets += int((labels != -100).sum())
        # Weight rows that the mask empties are equal in both.
        weights = [torch.stack(out.attentions) for out in (measured, exact)]
        for key, (a, b) in zip(worst, ((measured.logits, exact.logits), weights), strict=True):
            difference = (a - b).abs()
            worst[key] = max(worst[key], float(difference.max()))
            means[key] += float(difference.mean()) / len(rows)
        if step:
            step(index + 1, len(rows))
    return {
        **{key: total / targets for key, total in sums.items()},
        "targets": targets,
        **worst,
        **{f"mean_{key}": value for key, value in means.items()},
        "circuits": backend.circuits_run - before,
        "seconds": seconds,
        **backend.provenance(),
    }
