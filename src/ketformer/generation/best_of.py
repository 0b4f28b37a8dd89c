"""Of several samples for each wanted molecule, the one nearest to the requested properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties


def nearest_of(
    draws: Sequence[Sequence[str]], config: KetformerConfig, requested: Mapping[str, float]
) -> list[str]:
    """The nearest SMILES at each place ``[n]`` of draws ``[k][n]``; the first if none is valid.

    Raises:
        KetformerError: see :func:`distances`.
    """
    apart = np.stack([distances(draw, config, requested) for draw in draws])
    return [draws[k][place] for place, k in enumerate(apart.argmin(0).tolist())]


def distances(
    smiles: Sequence[str], config: KetformerConfig, requested: Mapping[str, float]
) -> np.ndarray:
    """How far each molecule ``[n]`` is from a request, infinite for an invalid one.

    It is the sum over the requested properties of the absolute error in standard deviations of
    the training data.

    Raises:
        KetformerError: no requested condition can be computed from a molecule.
    """
    names = [name for name in requested if name in PROPERTIES]
    if not names:
        raise KetformerError(
            "--best_of needs a --condition that can be computed from a molecule: "
            f"{', '.join(PROPERTIES)}"
        )
    places = [(config.condition_names or []).index(name) for name in names]
    scale = np.array([(config.condition_stds or [])[place] for place in places])
    values = compute_properties(smiles, names, progress=False)
    apart = np.abs(values - np.array([requested[name] for name in names])) / scale
    total: np.ndarray = np.nan_to_num(apart.sum(1), nan=np.inf, posinf=np.inf)
    return total
