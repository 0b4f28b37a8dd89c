"""The search for each row's learning rate, equally large for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ketformer.comparison.jobs import Job
from ketformer.comparison.variants import Variant
from ketformer.comparison.workers import run_jobs
from ketformer.errors import KetformerError
from ketformer.runs import Settings

# Trainer's default.
_TRAINERS_RATE = 5e-5
# How many rates beyond the first grid a row may try.
_FURTHER = 4
# Used by no row, so that no row profits from the choice; the same for all seeds of rows, so that
# parts of a comparison that are made apart choose the same rates.
_SEED = 1042


@dataclass(frozen=True)
class Search:
    """A search: several rates, a share of the steps, one seed.

    Attributes:
        rates: learning rates, the same for each row.
        share: length of a trial as a share of the full training; its schedule shrinks as well.
        seed: seed of the weights and batches.
    """

    rates: tuple[float, ...]
    share: float
    seed: int

    @classmethod
    def around(cls, settings: Settings, count: int, share: float) -> Search:
        """``count`` rates around the settings' own, each √10 times the one before.

        Raises:
            KetformerError: ``count`` is below 1, or ``share`` is outside (0, 1].
        """
        if count < 1:
            raise KetformerError(f"at least one learning rate must be tried, got {count}")
        if not 0 < share <= 1:
            raise KetformerError(f"search_share must lie in (0, 1], got {share}")
        centre = settings.training.get("learning_rate", _TRAINERS_RATE)
        powers = (10 ** ((i - (count - 1) / 2) / 2) for i in range(count))
        rates = tuple(float(f"{centre * power:.2g}") for power in powers)
        return cls(rates, share, _SEED)

    def settings(self, whole: Settings, rate: float) -> Settings:
        """The settings of one trial."""
        training = whole.training
        changes: dict[str, Any] = {"learning_rate": rate, "seed": self.seed}
        if (steps := training.get("max_steps", -1)) > 0:
            changes["max_steps"] = max(round(steps * self.share), 1)
        else:
            changes["num_train_epochs"] = training.get("num_train_epochs", 3) * self.share
        if (warmup := training.get("warmup_steps", 0)) >= 1:  # below 1 it is already a share
            changes["warmup_steps"] = round(warmup * self.share)
        return whole.override(changes)


def search_rates(
    variants: Sequence[Variant],
    settings: Settings,
    search: Search,
    out: Path,
    *,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> tuple[list[Variant], dict[str, list[dict[str, Any]]]]:
    """Give each row the rate with the lowest validation loss.

    A row whose best rate is the lowest or highest tried gets one beyond it, until the best lies
    inside, at most four times.

    Args:
        variants: the rows.
        settings: the settings they share.
        search: what to try for each row.
        out: folder for the trials; finished ones are reused.
        processes: how many trials at once; by default one, or on a cluster as many as it has cores
            or GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show a table on standard error.

    Returns:
        The rows with their rates, and the trials of each row by name: ``learning_rate`` and
        ``eval_loss``, None where the loss was not finite.

    Raises:
        KetformerError: no rate of a row gave a finite loss.
    """
    losses: dict[str, dict[float, float | None]] = {variant.name: {} for variant in variants}
    wanted = [(variant, rate) for variant in variants for rate in search.rates]
    while wanted:
        jobs = [
            Job(
                variant.name,
                f"rate {rate:.2g}",
                search.settings(settings.override(variant.changes), rate),
                out / f"{variant.folder}-rate{rate:.2g}-seed{search.seed}",
            )
            for variant, rate in wanted
        ]
        answers = run_jobs(jobs, processes=processes, cluster=cluster, progress=progress)
        for (variant, rate), answer in zip(wanted, answers, strict=True):
            losses[variant.name][rate] = answer["eval_loss"]
        wanted = [
            (variant, rate)
            for variant in variants
            for rate in _beyond(losses[variant.name], len(search.rates) + _FURTHER)
        ]
    chosen, tried = [], {}
    for variant in variants:
        found = losses[variant.name]
        best = _best(found)
        if best is None:
            rates = ", ".join(f"{rate:.2g}" for rate in sorted(found))
            raise KetformerError(f"{variant.name}: no finite loss at any of the rates {rates}")
        chosen.append(replace(variant, changes={**variant.changes, "learning_rate": best}))
        tried[variant.name] = [
            {"learning_rate": rate, "eval_loss": found[rate]} for rate in sorted(found)
        ]
    return chosen, tried


def _best(losses: dict[float, float | None]) -> float | None:
    """The rate with the lowest loss; None if no loss is finite."""
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    return min(finite, key=lambda rate: finite[rate], default=None)


def _beyond(losses: dict[float, float | None], most: int) -> list[float]:
    """The next rate outside those tried, if the best is at their edge and fewer than ``most``."""
    best = _best(losses)
    if best is None or len(losses) >= most:
        return []
    ends = {min(losses): 10**-0.5, max(losses): 10**0.5}
    return [float(f"{best * ends[best]:.2g}")] if best in ends else []
