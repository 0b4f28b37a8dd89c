"""Oracles for conditions that RDKit cannot compute, and how far each is from the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.runs import Run
from ketformer.tasks.molecules.conditions import find_condition
from ketformer.tasks.molecules.data import MoleculeData
from ketformer.tasks.molecules.forest import FOREST, fit_forest, import_forest
from ketformer.tasks.molecules.oracles import Oracle, load_oracle, score
from ketformer.tasks.molecules.properties import PROPERTIES

# Held-out molecules on which an oracle is compared with the data; it may be slow.
_HELD_OUT = 1_000


@dataclass(frozen=True)
class Judge:
    """An oracle for a condition.

    Attributes:
        oracle: any.
        held_out: ``oracle``, its name; ``molecules`` of the validation and test parts with a known
            value, and of these ``failed``; ``mae`` between the oracle and the data on the others,
            in the condition's unit, and ``r2``, the explained share of the variance (None if there
            are none, or they do not vary).
    """

    oracle: Oracle
    held_out: dict[str, Any]


def requested_oracles(run: Run, given: Sequence[str]) -> dict[str, Oracle | None]:
    """The oracle for each condition, None for a forest to be fitted to the run's data.

    Args:
        run: a conditional model.
        given: ``CONDITION=ORACLE``, or an oracle alone for what RDKit cannot compute: a name, a
            ``module:function``, or ``forest``.

    Raises:
        KetformerError: an unknown condition or oracle, one condition twice, or an oracle alone
            that may be for several conditions.
    """
    names = run.model.config.condition_names or []
    columns = [name for name in names if name not in PROPERTIES]
    found: dict[str, Oracle | None] = {}
    for text in given:
        asked, equals, oracle = text.rpartition("=")
        if equals:
            name = find_condition(asked, names)
            if name is None:
                known = ", ".join(names) or "none"
                raise KetformerError(f"{run.path} has no condition {asked!r}; it has: {known}")
            wanted = [name]
        else:
            wanted = columns
        if not wanted:
            raise KetformerError(
                f"--oracle {oracle}: RDKit computes every condition of {run.path}; "
                f"--oracle CONDITION={oracle} overrules it"
            )
        if len(wanted) > 1 and oracle != FOREST:
            raise KetformerError(
                f"--oracle {oracle}: write for which of the conditions {', '.join(wanted)} it is, "
                f"as in --oracle {wanted[0]}={oracle}"
            )
        for name in wanted:
            if name in found:
                raise KetformerError(f"--oracle: {name} has two oracles")
            found[name] = None if oracle == FOREST else load_oracle(oracle)
    if None in found.values():
        import_forest()  # said before the work begins
    return found


def judges(
    oracles: Mapping[str, Oracle | None], prepared: MoleculeData, *, progress: bool = True
) -> dict[str, Judge]:
    """Fit the forests to the training part, and compare every oracle with the held-out molecules.

    Args:
        oracles: see :func:`requested_oracles`.
        prepared: the data of the model.
        progress: show bars on standard error.

    Raises:
        KetformerError: an oracle gives no held-out molecule a number; or too few values are known
            to fit a forest.

    Warns:
        UserWarning: an oracle fails on some of them; the first is named.
    """
    found = {}
    for name, oracle in oracles.items():
        place = prepared.names.index(name)
        values = {part: v[:, place].double().numpy() for part, v in prepared.conditions.items()}
        asked = oracle or fit_forest(
            prepared.smiles["train"], values["train"], progress=progress, label=f"forest of {name}"
        )
        # In the published split the two parts are the same.
        held_out = {
            smiles: value
            for part in ("validation", "test")
            for smiles, value in zip(prepared.smiles[part], values[part], strict=True)
            if not np.isnan(value)
        }
        smiles = list(held_out)[:_HELD_OUT]
        truth = np.array([held_out[one] for one in smiles])
        found[name] = Judge(asked, _compared(asked, name, smiles, truth, progress))
    return found


def values_by(
    judge: Judge, name: str, smiles: Sequence[str], *, progress: bool = True
) -> tuple[NDArray[np.float64], int]:
    """What an oracle says of molecules ``[N]``, NaN where it failed, and on how many it failed.

    Each distinct molecule is asked about once. A warning names the first that failed.
    """
    distinct = list(dict.fromkeys(smiles))
    scores = score(judge.oracle, distinct, progress=progress, label=f"oracle of {name}")
    if complaint := scores.complaint(distinct):
        warnings.warn(f"{name}: {complaint}", stacklevel=2)
    value_of = dict(zip(distinct, scores.values.tolist(), strict=True))
    values = np.array([value_of[one] for one in smiles], dtype=np.float64)
    return values, int(np.isnan(values).sum())


def _compared(
    oracle: Oracle, name: str, smiles: list[str], truth: NDArray[np.float64], progress: bool
) -> dict[str, Any]:
    """The ``held_out`` of a :class:`Judge`."""
    scores = score(oracle, smiles, progress=progress, label=f"oracle of {name}")
    complaint = scores.complaint(smiles)
    if smiles and len(scores.failures) == len(smiles):
        raise KetformerError(f"{name}: {complaint}; nothing can be measured with it")
    if complaint:
        warnings.warn(f"{name}: {complaint}", stacklevel=3)
    error = (scores.values - truth)[~np.isnan(scores.values)]
    spread = truth[~np.isnan(scores.values)]
    varies = len(spread) > 1 and np.ptp(spread) > 0
    return {
        "oracle": oracle.name,
        "molecules": len(smiles),
        "failed": len(scores.failures),
        "mae": float(np.abs(error).mean()) if len(error) else None,
        "r2": float(1 - np.square(error).mean() / spread.var()) if varies else None,
    }
