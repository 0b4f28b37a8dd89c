"""A random forest on fingerprints and properties, for numbers that RDKit cannot compute.

scikit-learn is imported where it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.chemistry import CHUNK, map_chunks, parse
from ketformer.tasks.molecules.oracles import BAR_DELAY, Oracle
from ketformer.tasks.molecules.properties import compute_properties
from ketformer.tasks.molecules.similarity import fingerprints
from ketformer.utils.machine import available_cores
from ketformer.utils.progress import Bars

#: Asks for a forest where an oracle has a name.
FOREST = "forest"

_MOST = 10_000  # molecules to fit; more take minutes and change little
_TREES, _AT_ONCE = 100, 10


def import_forest() -> Any:
    """The module of scikit-learn.

    Raises:
        KetformerError: it is not installed.
    """
    try:
        return importlib.import_module("sklearn.ensemble")
    except ImportError:
        raise KetformerError(
            "the oracle forest needs scikit-learn: pip install 'ketformer[molecules]'"
        ) from None


def fit_forest(
    smiles: Sequence[str],
    values: NDArray[np.float64],
    *,
    seed: int = 42,
    progress: bool = False,
    label: str = FOREST,
) -> Oracle:
    """An oracle that predicts a number, fitted to molecules with known values.

    A random forest (Breiman 2001) of 100 trees, on Morgan fingerprints of radius 2 with 1,024 bits
    (Rogers and Hahn 2010) and the nine properties of RDKit; a third of these numbers is tried for
    each split. At most 10,000 molecules are used, a random choice.

    Args:
        smiles: N canonical SMILES.
        values: ``[N]``, NaN where unknown.
        seed: decides the choice and the trees.
        progress: show a bar on standard error.
        label: label of the bar.

    Raises:
        KetformerError: scikit-learn is missing, or fewer than two values are known.
    """
    known = (~np.isnan(values)).nonzero()[0]
    if len(known) < 2:
        raise KetformerError(f"a forest needs at least two known values, not {len(known)}")
    if len(known) > _MOST:
        known = np.sort(np.random.default_rng(seed).choice(known, _MOST, replace=False))
    cores = available_cores() if len(known) > CHUNK else 1
    model = import_forest().RandomForestRegressor(
        max_features=1 / 3, n_jobs=cores, random_state=seed, warm_start=True
    )
    seen = _numbers([smiles[int(i)] for i in known])
    with Bars(progress, "tree", BAR_DELAY) as bars:
        step = bars(label)
        for trees in range(_AT_ONCE, _TREES + 1, _AT_ONCE):  # for the bar
            model.set_params(n_estimators=trees).fit(seen, values[known])
            step(trees, _TREES)
    return Oracle(FOREST, partial(_predict, model=model))


def _predict(smiles: list[str], *, model: Any) -> NDArray[np.float64]:
    predicted: NDArray[np.float64] = model.predict(_numbers(smiles))
    return predicted


def _numbers(smiles: Sequence[str]) -> NDArray[np.float32]:
    """What a forest sees of each molecule, ``[N, 1024 + 9]``; RDKit must be able to read them."""
    chunks = map_chunks(_fingerprints, smiles, progress=False)
    properties = compute_properties(smiles, progress=False)
    return np.concatenate([np.concatenate(chunks), properties], axis=1, dtype=np.float32)


def _fingerprints(smiles: Sequence[str]) -> NDArray[np.uint8]:
    molecules: list[Any] = list(map(parse, smiles))
    return fingerprints(molecules)
