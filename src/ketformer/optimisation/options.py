"""The options of an optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.oracles import ORACLES, Oracle
from ketformer.tasks.molecules.pmo import PMO

# Which value of an oracle counts as nothing, and which as all that can be wished for.
_RANGES = {"QED": (0.0, 1.0), "LogP": (0.0, 5.0), "SA": (10.0, 1.0)}


@dataclass(frozen=True)
class Optimisation:
    """How a model is steered.

    The defaults are those of REINVENT 4 (Loeffler et al. 2024, doi:10.1186/s13321-024-00812-5);
    the learning rate and the replay are PMO's.

    Attributes:
        budget: molecules that the oracle may be asked about.
        batch: molecules sampled for each step.
        sigma: nats that a score of 1 is worth against the prior's log-likelihood.
        learning_rate: of Adam.
        replay: molecules replayed in each step, drawn from the memory by their score.
        memory: how many of the best molecules are kept for that.
        patience: steps in which the best 100 may stay the same before it ends, once there are
            1,000; 0 for no end before the budget's. PMO takes 5.
        augmentations: further updates in each step, on the whole memory written as random SMILES;
            the augmented memory of Guo and Schwaller 2023 (arXiv 2305.16160), who take 2.
        bucket_size: molecules of one scaffold that are rewarded, from ``min_score`` on; 0 for
            no limit.
        min_score: the score from which a molecule counts against its scaffold.
        range: the oracle's value that is a score of 0, and the one that is a score of 1; the
            first may be the higher one. Scores end there.
        seed: of sampling and replay.
        conditions: requested values, the same in every step; omitted ones are unknown.
    """

    budget: int = 10_000
    batch: int = 64
    sigma: float = 128.0
    learning_rate: float = 5e-4
    replay: int = 24
    memory: int = 100
    patience: int = 0
    augmentations: int = 0
    bucket_size: int = 25
    min_score: float = 0.4
    range: tuple[float, float] = (0.0, 1.0)
    seed: int = 42
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("budget", "batch", "memory"):
            if getattr(self, name) < 1:
                raise KetformerError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("replay", "patience", "augmentations", "bucket_size"):
            if getattr(self, name) < 0:
                raise KetformerError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("sigma", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise KetformerError(f"{name} must be positive, got {getattr(self, name)}")
        if not all(abs(end) < float("inf") for end in self.range) or len(set(self.range)) < 2:
            low, high = self.range
            raise KetformerError(f"range must be two different finite numbers, got {low} {high}")
        if not 0 <= self.seed < 2**32:
            raise KetformerError(f"seed must lie in [0, 2**32), got {self.seed}")

    def score(self, value: float) -> float:
        """The score of an oracle's value; 0 where there is none."""
        low, high = self.range
        share = (value - low) / (high - low)
        return min(max(share, 0.0), 1.0) if share == share else 0.0


def usual_range(oracle: Oracle) -> tuple[float, float]:
    """The range of an oracle if the user gives none; 0 to 1 for a function of the user's.

    Raises:
        KetformerError: a property whose good values only the user knows.
    """
    if oracle.name not in ORACLES or oracle.name in PMO:
        return 0.0, 1.0
    if oracle.name not in _RANGES:
        raise KetformerError(
            f"which {oracle.name} is good? say with --range which value is a score of 0 and "
            "which one of 1; with the higher value first, lower ones are better"
        )
    return _RANGES[oracle.name]
