"""How well a conditional model hits what it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ketformer.errors import KetformerError
from ketformer.molecules import generate_molecules
from ketformer.preparation import MoleculeData
from ketformer.runs import Run
from ketformer.sampling import MoleculeSampling
from ketformer.tasks.molecules.properties import PROPERTIES

#: Targets lie this many standard deviations from the mean, on both sides (arXiv 2502.19214).
DEVIATIONS = (-2.0, 2.0)


def conditions_to_request(run: Run) -> list[str]:
    """Those conditions of a model that can be computed of what it writes.

    Raises:
        KetformerError: there is none.
    """
    names = [name for name in run.model.config.condition_names or [] if name in PROPERTIES]
    if not names:
        raise KetformerError(f"{run.path} has no condition that can be computed of a molecule")
    return names


def target_errors(
    run: Run, prepared: MoleculeData, num: int, *, progress: bool = True
) -> list[dict[str, Any]]:
    """Ask for one property at a time, two deviations below and above its mean.

    The other properties are left unknown, or at their mean in a model that needs them
    all. Means and deviations are those of the training part; a target can therefore be
    one that no molecule has, such as a negative count.

    Args:
        run: a conditional model.
        prepared: the data it was trained on.
        num: molecules to sample for each target.
        progress: show bars on standard error.

    Returns:
        A row for each property that can be computed and each target: ``property``,
        ``target``, ``std`` of the property, ``mean`` and ``mae`` over the valid
        molecules, and the keys of ``generation_metrics``.

    Raises:
        KetformerError: the model has no conditions.
    """
    names = conditions_to_request(run)
    values = prepared.conditions["train"].double().numpy()
    means, stds = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    typical = dict(zip(prepared.names, means.tolist(), strict=True))
    others = {} if run.model.config.condition_unknown else typical
    training = frozenset(prepared.smiles["train"])
    rows = []
    for name in names:
        i = prepared.names.index(name)
        for deviations in DEVIATIONS:
            target = float(means[i] + deviations * stds[i])
            sampled = generate_molecules(
                run,
                num,
                MoleculeSampling(conditions={**others, name: target}),
                training=training,
                progress=progress,
                label=f"{name} {target:.3g}",
            )
            metrics = {k: v for k, v in sampled.metrics.items() if k != "at"}
            error = sampled.errors[name]
            rows.append(
                {
                    "property": name,
                    "target": target,
                    "std": float(stds[i]),
                    "mean": error["mean"],
                    "mae": error["mae"],
                    **metrics,
                }
            )
    return rows
