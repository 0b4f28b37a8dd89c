"""How closely a conditional model meets requested properties."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ketformer.errors import KetformerError
from ketformer.evaluation.oracles import Judge, values_by
from ketformer.generation import MoleculeSampling, generate_molecules
from ketformer.generation.decoding import sample_sequences
from ketformer.models.conditions import BeyondTraining
from ketformer.runs import Run
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.metrics import Judged, property_errors
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties
from ketformer.tasks.molecules.tokenizer import decode_smiles

#: Distance of the targets from the mean, in standard deviations (arXiv 2502.19214).
DEVIATIONS = (-2.0, 2.0)


def conditions_to_request(run: Run, with_oracle: Collection[str] = ()) -> list[str]:
    """The conditions of a model that can be computed from a molecule.

    Args:
        run: a conditional model.
        with_oracle: those that have an oracle; RDKit computes others.

    Raises:
        KetformerError: the model has no such condition.
    """
    conditions = run.model.config.condition_names or []
    names = [name for name in conditions if name in PROPERTIES or name in with_oracle]
    if not names:
        hint = f"; name an --oracle for {', '.join(conditions)}" if conditions else ""
        raise KetformerError(
            f"{run.path} has no condition that can be computed from a molecule{hint}"
        )
    return names


def target_errors(
    run: Run,
    prepared: MoleculeData,
    num: int,
    *,
    oracles: Mapping[str, Judge] | None = None,
    constrained: bool = False,
    guidance: float = 1.0,
    best_of: int = 1,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Request one property at a time, two deviations below and above its mean.

    The other properties are left unknown, or at their mean in a model that needs them
    all. Means and deviations are those of the training part, so a target can be
    impossible, such as a negative count.

    Args:
        run: a conditional model.
        prepared: the data it was trained on.
        num: molecules to keep for each target.
        oracles: for conditions that RDKit cannot compute, by name.
        constrained: see :class:`~ketformer.generation.MoleculeSampling`, as for the next two.
        guidance: weight of the conditions.
        best_of: molecules to sample for each that is kept.
        progress: show bars on standard error.

    Returns:
        A row for each property that can be computed and each target: ``property``,
        ``target``, ``std`` of the property, ``mean`` and ``mae`` over the valid
        molecules, ``drawn``, and the keys of ``generation_metrics``. With an oracle also
        ``oracle``, its name, and ``failed``, on how many valid molecules it failed, which do not
        count.

    Raises:
        KetformerError: the model has no conditions.
    """
    oracles = oracles or {}
    names = conditions_to_request(run, oracles)
    values = prepared.conditions["train"].double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a condition that the data lack
        means, stds = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    typical = dict(zip(prepared.names, means.tolist(), strict=True))
    others = {} if run.model.config.condition_unknown else typical
    known = prepared.known
    rows = []
    for name in names:
        i = prepared.names.index(name)
        if np.isnan(means[i]):
            continue
        for deviations in DEVIATIONS:
            molecules: list[str] = []

            def keep(judged: Judged, into: list[str] = molecules) -> None:
                into.extend(filter(None, judged.canonical))

            target = float(means[i] + deviations * stds[i])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", BeyondTraining)  # meant to be hard
                sampled = generate_molecules(
                    run,
                    num,
                    MoleculeSampling(
                        conditions={**others, name: target},
                        constrained=constrained,
                        guidance=guidance,
                        best_of=best_of,
                    ),
                    known=known,
                    each=keep,
                    progress=progress,
                    label=f"{name} {target:.3g}",
                )
            metrics = {k: v for k, v in sampled.metrics.items() if k != "at"}
            errors = sampled.errors
            if name in oracles:
                said, failed = values_by(oracles[name], name, molecules, progress=progress)
                errors = property_errors(said[:, None], {name: target}, [name])
                metrics |= {"oracle": oracles[name].oracle.name, "failed": failed}
            error = errors[name]
            rows.append(
                {
                    "property": name,
                    "target": target,
                    "std": float(stds[i]),
                    "mean": error["mean"],
                    "mae": error["mae"],
                    "drawn": num * best_of,
                    **metrics,
                }
            )
    return rows


def mean_target_error(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean over all targets of the absolute error in standard deviations of the property.

    Args:
        rows: see :func:`target_errors`.

    Returns:
        None if some target has no valid molecule, or some property never varies.
    """
    if any(row["mae"] is None or not row["std"] for row in rows):
        return None
    return float(np.mean([row["mae"] / row["std"] for row in rows]))


def requested_and_reached(
    run: Run, each: int = 24, *, seed: int = 42
) -> dict[str, list[tuple[float, float]]]:
    """Request one property at a time, from two deviations below its mean to two above.

    A quick complement to :func:`target_errors`: few molecules, but over the whole range. The
    other properties are left unknown, or at their mean in a model that needs them all.

    Args:
        run: a conditional model.
        each: molecules to sample for each of the five values of a property.
        seed: sampling seed.

    Returns:
        For each property that can be computed, the (requested, reached) pairs of the valid
        molecules.

    Raises:
        KetformerError: the model has no conditions.
    """
    names, config = conditions_to_request(run), run.model.config
    places = {name: i for i, name in enumerate(config.condition_names or [])}
    means, stds = torch.tensor(config.condition_means), torch.tensor(config.condition_stds)
    others = torch.full_like(means, torch.nan) if config.condition_unknown else means
    wanted = []
    for name in names:
        i = places[name]
        for deviations in (-2, -1, 0, 1, 2):
            row = others.clone()
            row[i] = means[i] + deviations * stds[i]
            wanted.append(row)
    conditions = torch.stack(wanted).repeat_interleave(each, dim=0).float().to(run.model.device)
    generator = torch.Generator(run.model.device).manual_seed(seed)
    # A model that scales by the batch must not see the other values.
    alone = any(options.get("published_scaling") for options in config.mechanisms.values())
    smiles: list[str] = []
    for batch in conditions.split(each if alone else len(conditions)):
        ids = sample_sequences(
            run.model,
            len(batch),
            generator=generator,
            conditions=batch,
            never=[run.tokenizer.bos_token_id, run.tokenizer.pad_token_id],
        )
        smiles += decode_smiles(run.tokenizer, ids.cpu())
    properties = compute_properties(smiles, progress=False)
    found: dict[str, list[tuple[float, float]]] = {}
    for block, name in enumerate(names):
        rows = slice(block * 5 * each, (block + 1) * 5 * each)
        asked = conditions[rows, places[name]].tolist()
        came = properties[rows, list(PROPERTIES).index(name)].tolist()
        pairs = zip(asked, came, strict=True)
        found[name] = [(float(a), float(c)) for a, c in pairs if not np.isnan(c)]
    return found
