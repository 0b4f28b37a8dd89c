"""Shots where they matter: a number of its own for each circuit of an experiment."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ketformer.quantum.circuit import Circuit
from ketformer.quantum.experiment import Experiment
from ketformer.quantum.measurement import measurement_settings, parities, support
from ketformer.quantum.pauli import PauliStrings

if TYPE_CHECKING:
    from ketformer.quantum.backends import Backend

# Outcomes in memory at once; more are drawn in parts.
_CHUNK = 1 << 22


def neyman(deviations: Tensor, total: int, least: Tensor) -> Tensor:
    """Shots for each circuit that minimise the variance of a sum of their outcomes.

    The sum of outcomes x_k, each measured with s_k shots and multiplied by its sensitivity g_k,
    has variance sum_k (g_k σ_k)² / s_k, where σ_k is the standard deviation of one shot. For a
    given number of shots it is smallest if s_k is proportional to |g_k| σ_k (Neyman 1934, optimal
    allocation to strata).

    Args:
        deviations: ``[K]``, |g_k| σ_k up to a factor; all alike if all are zero.
        total: shots of all circuits together.
        least: ``[K]``, shots that each circuit gets at least.

    Returns:
        ``[K]``, int64; at most ``total`` together, and less by less than one shot a circuit.

    Raises:
        ValueError: ``total`` is less than the sum of ``least``.
    """
    if total < int(least.sum()):
        raise ValueError(f"{total} shots are fewer than the {int(least.sum())} needed at least")
    weights = deviations.double().cpu()
    least = least.double().cpu()
    if not weights.any():
        weights = torch.ones_like(weights)
    # Circuits below their least number get it, and the others share the rest.
    held = torch.zeros_like(weights, dtype=torch.bool)
    while True:
        left, shared = total - least[held].sum(), weights[~held].sum()
        shares = weights / shared if shared else torch.zeros_like(weights)  # of those not held
        shots = torch.where(held, least, left * shares)
        below = ~held & (shots < least)
        if not below.any():
            return (shots * (1 + 1e-12)).floor().long()  # 4 shots, not 3.9999
        held = held | below


class Sampled:
    """Outcomes from a backend that samples, with a number of shots for each circuit.

    Args:
        backend: where the circuits run.

    Attributes:
        spent: shots so far of each measured circuit, with the qubits that are measured.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.spent: Counter[tuple[Circuit, tuple[int, ...]]] = Counter()

    def __call__(self, experiment: Experiment, shots: Tensor) -> Tensor:
        """The outcomes ``[..., S]`` of an experiment.

        Args:
            experiment: with angles ``[..., P]``.
            shots: ``[..., G]``, int64, for each row of angles and each of the experiment's
                :func:`~ketformer.quantum.measurement.measurement_settings`. Circuits whose
                numbers are nearly the same run together with the mean of these. Without any
                shots an outcome is 0.
        """
        angles = experiment.angles.detach()
        rows = angles.reshape(math.prod(angles.shape[:-1]), angles.shape[-1])
        out = angles.new_zeros(len(rows), len(experiment.strings), dtype=torch.float64)
        each = together(shots).flatten(0, -2).to(rows.device)
        for place, setting in enumerate(measurement_settings(experiment.strings)):
            turned = experiment.circuit.then(setting.rotation)
            seen = support(
                PauliStrings(tuple(experiment.strings.strings[m] for m in setting.members))
            )
            measured = tuple(q for q, axis in enumerate(setting.axes) if axis != "I")
            members = torch.tensor(setting.members, device=rows.device)
            for number in each[:, place].unique().tolist():
                if number:
                    chosen = (each[:, place] == number).nonzero()[:, 0]
                    found = self._means(turned, rows[chosen], seen, number)
                    out[chosen[:, None], members] = found.to(out.device)
                    self.spent[turned, measured] += number * len(chosen)
        return out.reshape(*angles.shape[:-1], -1)

    def _means(self, circuit: Circuit, rows: Tensor, strings: PauliStrings, shots: int) -> Tensor:
        """``[N, S]``: means over the shots, drawn in parts."""
        size = max(1, _CHUNK // shots)
        return torch.cat([self._mean(circuit, part, strings, shots) for part in rows.split(size)])

    def _mean(self, circuit: Circuit, rows: Tensor, strings: PauliStrings, shots: int) -> Tensor:
        total = torch.zeros(len(rows), len(strings), dtype=torch.float64)
        for begin in range(0, shots, _CHUNK):
            number = min(_CHUNK, shots - begin)
            outcomes = self.backend.sample(circuit, rows, number).cpu()
            total += number * parities(outcomes, strings)
        return total / shots


def together(shots: Tensor) -> Tensor:
    """Numbers of shots with those within the same factor of two replaced by their mean.

    A device runs circuits with the same number of shots in one job. This makes the variance that
    :func:`neyman` minimises larger by 11 % at most.
    """
    flat = shots.flatten()
    step = torch.where(flat > 0, flat.clamp_min(1).double().log2().round() + 1, 0.0)
    _, group = step.unique(return_inverse=True)
    sums = torch.zeros(int(group.max()) + 1, dtype=torch.long, device=flat.device)
    sums = sums.index_add(0, group, flat)
    means: Tensor = sums // group.bincount()
    return means[group].reshape(shots.shape)
