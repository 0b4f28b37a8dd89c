"""What a time budget can buy: the number of steps, seeds and controls of a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ketformer.errors import KetformerError

#: A paired t-test over fewer seeds shows next to nothing.
SEEDS = 5
_MOST_SEEDS = 10
# Controls are dropped rather than that models are trained for fewer steps than these.
_ENOUGH_STEPS = 300
_FEWEST_STEPS = 20
# Three trials of a third of the training, and one beyond the grid.
_TRIALS = 4 / 3
# The rest goes to starting processes, checkpoints and the page.
_SPENT = 0.85

_PARTS = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


@dataclass(frozen=True)
class Cost:
    """What a row costs.

    Attributes:
        name: name of the row.
        step: seconds of one training step.
        evaluation: seconds of one evaluation.
        longer: how many times as many steps as the others it is trained for.
    """

    name: str
    step: float
    evaluation: float
    longer: float = 1.0

    def seconds(self, steps: int, seeds: int) -> float:
        """Of the whole row: the search for its rate, and every seed."""
        return self.longer * self.step * steps * (seeds + _TRIALS) + self.evaluation * seeds


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        steps: training steps of each row.
        seeds: number of seeds.
        rows: names of the rows.
        left_out: names of the controls that the budget does not pay for.
        expected: expected seconds in all.
    """

    steps: int
    seeds: int
    rows: list[str]
    left_out: list[str]
    expected: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def seconds_of(budget: str) -> float:
    """``30m``, ``2h``, ``1h30m`` or ``90s`` in seconds; a number alone means minutes.

    Raises:
        KetformerError: anything else, or no time at all.
    """
    text = budget.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        text += "m"
    match = _PARTS.fullmatch(text)
    parts = [float(part or 0) for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds < 1e9:
        raise KetformerError(f"a budget is written like 30m, 2h or 1h30m, got {budget!r}")
    return seconds


def plan(costs: Sequence[Cost], seconds: float, *, processes: int, whole: int) -> Plan:
    """Choose steps, seeds and controls.

    All seeds of the mechanism and of the reference come first, then controls in their order, as
    long as each row keeps enough steps; more seeds only if nothing is left out or shortened.

    Args:
        costs: of the rows: the reference, the mechanism, and the controls by importance.
        seconds: the budget.
        processes: how many runs at once.
        whole: the settings' own number of steps.

    Raises:
        KetformerError: the budget does not even pay for the first two rows.
    """
    available = seconds * processes * _SPENT
    enough = min(whole, _ENOUGH_STEPS)
    kept = len(costs)
    while kept > 2 and _steps(costs[:kept], SEEDS, available) < enough:
        kept -= 1
    rows, seeds = costs[:kept], SEEDS
    steps = min(_steps(rows, seeds, available), whole)
    if steps < min(whole, _FEWEST_STEPS):
        least = sum(cost.seconds(_FEWEST_STEPS, SEEDS) for cost in costs[:2])
        raise KetformerError(
            f"the budget is too small: {' and '.join(c.name for c in costs[:2])} need about "
            f"{least / processes / _SPENT / 60:.0f} minutes at least"
        )
    while kept == len(costs) and steps == whole and seeds < _MOST_SEEDS:
        if _total(rows, whole, seeds + 1) > available:
            break
        seeds += 1
    return Plan(
        steps,
        seeds,
        [cost.name for cost in rows],
        [cost.name for cost in costs[kept:]],
        _total(rows, steps, seeds) / processes,
    )


def _total(rows: Sequence[Cost], steps: int, seeds: int) -> float:
    return sum(cost.seconds(steps, seeds) for cost in rows)


def _steps(rows: Sequence[Cost], seeds: int, available: float) -> int:
    """How many steps each row can have."""
    fixed = _total(rows, 0, seeds)
    each = _total(rows, 1, seeds) - fixed
    return int((available - fixed) / each)
