"""``evaluate`` for molecules: likelihood with and without padding, and metrics of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ketformer.audit import audit_causality
from ketformer.errors import KetformerError
from ketformer.evaluation.conditions import (
    conditions_to_request,
    mean_target_error,
    target_errors,
)
from ketformer.evaluation.constrained import constrained_metrics, heavy_atoms
from ketformer.evaluation.oracles import judges, requested_oracles
from ketformer.evaluation.splits import PARTS, check_same_data, way_and_part
from ketformer.generation import MoleculeSampling, generate_molecules
from ketformer.generation.constraint import table_of
from ketformer.models import KetformerForCausalLM
from ketformer.runs import Run
from ketformer.runs.data import molecules_of
from ketformer.tasks.datasets import DATASETS, locate
from ketformer.tasks.losses import BATCH, prefix_losses, teacher_forced
from ketformer.tasks.metric import computed
from ketformer.tasks.molecules.conditions import as_asked
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.metrics import wasserstein
from ketformer.tasks.molecules.moses_metrics import moses_metrics
from ketformer.tasks.molecules.packed import MOSES_PARTS
from ketformer.tasks.molecules.properties import PROPERTIES, cached_properties, compute_properties
from ketformer.tasks.molecules.rows import MoleculeRows
from ketformer.tasks.molecules.similarity import distribution_metrics
from ketformer.tasks.molecules.splits import ALL, SPLITS
from ketformer.utils.progress import Bars

# The prefix loss costs a forward pass per target, so it uses at most this many molecules.
_PREFIX_MOLECULES = 1024


def evaluate_molecules(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    samples: int = 10_000,
    with_fcd: bool | None = None,
    targets: int = 0,
    moses: bool | None = None,
    oracles: Sequence[str] = (),
    constrained: bool = False,
    guidance: float = 1.0,
    best_of: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a trained molecule model.

    Args:
        run: an opened run.
        data: a data set or path; by default the run's training data.
        split: a split method (``standard``, ``published``, ``scaffold``, ``official``), whose test
            part is used, ``all`` for all molecules, or a part (``train``, ``validation``, ``test``;
            in the official split of ``moses`` also ``test_scaffolds``) of the run's own split.
        limit: the most molecules to use for the losses, from the start of the part.
        samples: molecules to sample; 0 skips all sample metrics.
        with_fcd: whether to compute the FCD, which takes minutes; by default only if
            fcd_torch is installed.
        targets: molecules to sample for each property and target of
            :func:`~ketformer.evaluation.conditions.target_errors`; 0 skips them.
        moses: whether to compute MOSES' metrics of the samples, against its own test sets; by
            default for a model trained on ``moses``.
        oracles: for ``targets`` of conditions that RDKit cannot compute, see
            :func:`~ketformer.evaluation.oracles.requested_oracles`.
        constrained: also sample with this option of :class:`~ketformer.generation.
            MoleculeSampling`, and sample the targets with it.
        guidance: weight of the conditions, for the targets.
        best_of: molecules to sample for each that is kept, for the targets.
        progress: show bars on standard error.

    Returns:
        ``loss`` and ``token_accuracy`` over the tokens and the end token, and for a model
        trained to predict padding both ``_with_padding`` over every position of a padded row;
        ``prefix_loss``, where the model sees only the tokens before each target; ``loss`` and
        ``prefix_loss`` also
        ``_by_position``; ``causal``, as measured; for the samples the keys of
        :func:`~ketformer.tasks.molecules.metrics.generation_metrics` and
        :func:`~ketformer.tasks.molecules.similarity.distribution_metrics` (against the
        same part), ``wasserstein`` by property, the metrics of other packages, and the keys of
        :func:`~ketformer.tasks.molecules.moses_metrics.moses_metrics`; and ``heavy_atoms`` and
        ``constrained``, see :func:`~ketformer.evaluation.constrained.constrained_metrics`.

    Raises:
        KetformerError: the data or split is unknown, or has tokens the model does not know.
    """
    if oracles and not targets:
        raise KetformerError(
            "--oracle judges the molecules that --targets samples: give that too, such as 1000"
        )
    if samples < 0 or targets < 0:
        raise KetformerError("samples and targets must not be negative")
    asked = requested_oracles(run, oracles)
    if targets:
        conditions_to_request(run, asked)
    elif guidance != 1 or best_of != 1:
        raise KetformerError("--guidance and --best_of are for the samples of --targets")
    MoleculeSampling(conditions={"": 0.0}, guidance=guidance, best_of=best_of)  # refuses mistakes
    if constrained:
        table_of(run.tokenizer)
    if moses is None:
        moses = run.settings.data == "moses"
    wheel = locate(DATASETS["moses"]) if moses and samples else None
    rows, prepared, source = evaluation_rows(
        run, data=data, split=split, limit=limit, progress=progress
    )
    oracle_of = judges(asked, prepared, progress=progress)  # first: it may not work
    with Bars(progress, "molecule") as bars:
        likelihood = molecule_losses(
            run.model, rows, bars("teacher-forced"), padded=run.settings.count_padding
        )
        prefix = _prefix_losses(run.model, rows, bars("prefix alone"))
    with Bars(progress, "position") as bars:
        causal = audit_causality(run.model, sequences=4, step=bars("audit")).causal
    result = {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        "parameters": run.model.num_parameters(),
        "causal": causal,
        **source,
        "molecules": len(rows),
        **likelihood,
        **prefix,
    }
    if samples:
        reference = prepared.smiles[source["part"]]
        result |= sample_metrics(
            run,
            prepared,
            reference,
            samples,
            wheel=wheel,
            with_fcd=with_fcd,
            constrained=constrained,
            progress=progress,
        )
    if targets:
        if oracle_of:
            result["oracles"] = {name: judge.held_out for name, judge in oracle_of.items()}
        result["target_errors"] = target_errors(
            run,
            prepared,
            targets,
            oracles=oracle_of,
            constrained=constrained,
            guidance=guidance,
            best_of=best_of,
            progress=progress,
        )
        result |= (
            {"guidance": guidance, "best_of": best_of} if (guidance, best_of) != (1, 1) else {}
        )
        result["target_error"] = mean_target_error(result["target_errors"])
    return result


def evaluation_rows(
    run: Run,
    *,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> tuple[MoleculeRows, MoleculeData, dict[str, str]]:
    """The rows to evaluate a model on, all the data, and the source of the rows.

    Arguments and errors are those of :func:`evaluate_molecules`.
    """
    if limit is not None and limit < 1:
        raise KetformerError(f"limit must be positive, got {limit}")
    parts = dict.fromkeys((*PARTS, *MOSES_PARTS))
    way, part = way_and_part(run.settings.split, split, (*SPLITS, ALL), parts)
    # A model's names say where its conditions came from, whatever columns other data have.
    changes = {"split": way, "conditions": as_asked(run.model.config.condition_names or [])}
    if data:  # which may be written in another way
        changes |= {"data": data, "delimiter": None, "decimal": None, "encoding": None}
    settings = run.settings.override(changes)
    prepared = molecules_of(settings, run.tokenizer, progress=progress)
    check_same_data(run, prepared.facts)
    if not run.model.config.condition_unknown:
        prepared.require_conditions()
    if part not in prepared.ids:
        raise KetformerError(f"{settings.data} has no part {part} in its {way} split")
    rows = prepared.rows(part, count_padding=True)
    rows = MoleculeRows(
        rows.ids[:limit],
        rows.pad_token_id,
        None if rows.conditions is None else rows.conditions[:limit],
        count_padding=True,
    )
    return rows, prepared, {"data": settings.data, "split": way, "part": part}


def molecule_losses(
    model: KetformerForCausalLM,
    rows: MoleculeRows,
    step: Callable[[int, int], None] | None = None,
    *,
    padded: bool = True,
) -> dict[str, Any]:
    """Teacher-forced losses in nats per target, and accuracies.

    Args:
        model: in evaluation mode.
        rows: with padding counted, so that every position has a target.
        step: called with (done, total).
        padded: also give the losses and the accuracy that count padding.
    """
    forced = teacher_forced(model, rows, step=step)
    loss, hit = forced.losses, forced.predictions == forced.targets
    token = forced.targets != rows.pad_token_id
    result = {
        "targets": int(token.sum()),
        "loss": float(loss[token].mean()),
        "loss_by_position": _by_position(loss, token),
        "token_accuracy": float(hit[token].double().mean()),
    }
    if not padded:
        return result
    return {
        **result,
        "loss_with_padding": float(loss.mean()),
        "token_accuracy_with_padding": float(hit.double().mean()),
        # As in the released code of arXiv 2502.19214: a mean over batches in which the
        # smaller last one counts as much as the others.
        "loss_as_published": float(torch.stack([b.mean() for b in loss.split(BATCH)]).mean()),
    }


def sample_metrics(
    run: Run,
    prepared: MoleculeData,
    reference: list[str],
    samples: int,
    *,
    wheel: Path | None = None,
    with_fcd: bool | None = None,
    constrained: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """All metrics of samples with nothing requested, compared with ``reference``.

    With the wheel of ``moses`` also its metrics, against its own test sets; if ``constrained``,
    with those of constrained samples beside them.
    """
    canonical: list[str | None] = []
    typical = typical_conditions(run, prepared)
    sampled = generate_molecules(
        run,
        samples,
        MoleculeSampling(conditions=typical),
        known=prepared.known,
        each=lambda judged: canonical.extend(judged.canonical),
        progress=progress,
    )
    valid = sampled.molecules
    result = {**sampled.metrics, "sampled_at": typical or None}
    if wheel:
        result |= moses_metrics(canonical, wheel, with_fcd=with_fcd, progress=progress)
    if constrained:
        result["heavy_atoms"] = heavy_atoms(valid, reference)
        result["constrained"] = constrained_metrics(
            run, prepared, reference, samples, typical, with_fcd=with_fcd, progress=progress
        )
    if len(valid) < 2:
        return result
    generated = compute_properties(valid, progress=False)
    known = cached_properties(reference, progress=progress)
    return {
        **result,
        **distribution_metrics(valid, reference, with_fcd=with_fcd, progress=progress),
        "wasserstein": wasserstein(generated, known, list(PROPERTIES)),
        **computed("molecules", valid, reference),
    }


def typical_conditions(run: Run, prepared: MoleculeData) -> dict[str, float]:
    """The default request: nothing, or the means if the model needs every condition."""
    if run.model.config.condition_unknown or not prepared.names:
        return {}
    means = np.nanmean(prepared.conditions["train"].numpy().astype(np.float64), axis=0)
    return dict(zip(prepared.names, means.tolist(), strict=True))


def _prefix_losses(
    model: KetformerForCausalLM, rows: MoleculeRows, step: Callable[[int, int], None]
) -> dict[str, Any]:
    """Losses over tokens and end tokens when the model sees only the tokens before each."""
    loss = prefix_losses(model, rows, step=step, limit=_PREFIX_MOLECULES)
    token = rows.ids[: len(loss), 1:] != rows.pad_token_id
    return {
        "prefix_loss": float(loss[token].mean()),
        "prefix_loss_by_position": _by_position(loss, token),
    }


def _by_position(loss: Tensor, real: Tensor) -> list[float]:
    """Means over the real targets at each position, up to the last position with any."""
    counts = real.sum(0)
    longest = int(counts.count_nonzero())
    return ((loss * real).sum(0) / counts)[:longest].tolist()
