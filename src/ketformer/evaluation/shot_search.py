"""The number of shots that a wanted accuracy of the loss takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from scipy import stats

from ketformer.circuits.device_costs import DeviceCosts
from ketformer.errors import KetformerError
from ketformer.evaluation.backend import evaluation_sequences
from ketformer.evaluation.shots import ALLOCATIONS, Allocation, Evaluation
from ketformer.runs import Run
from ketformer.utils.progress import Bars

#: Shots of a circuit beyond which no search goes.
MOST = 1_000_000
#: Where a search begins.
_FIRST = 128
#: The bracket's ends at the end of a search, as a ratio.
_CLOSE = 1.1


def check_repeats(repeats: int) -> None:
    """Refuse too few repeats for an interval.

    Raises:
        KetformerError: fewer than 3.
    """
    if repeats < 3:
        raise KetformerError(f"an interval needs at least 3 repeats, got {repeats}")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the interval in which one more value lies with 95 % (Student's t)."""
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf(0.975, n - 1)) * spread * math.sqrt(1 + 1 / n)
    return mean, mean - half, mean + half


def shots_within(
    run: Run,
    within: float,
    *,
    limit: int = 16,
    allocation: Allocation = "uniform",
    repeats: int = 8,
    seed: int = 0,
    costs: DeviceCosts | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Search the number of shots at which the measured loss lies near the exact one.

    A number is enough if the interval in which the loss of one evaluation lies with 95 %, from
    repeated evaluations, is within the wanted distance. The number is doubled until it is
    enough, and then bisected on a logarithmic scale until the bracket is 10 % wide. There is no
    noise but that of the shots.

    Args:
        run: an opened run with a quantum mechanism.
        within: largest distance from the exact loss, in nats per target.
        limit: number of sequences from the test part; the loss is their mean.
        allocation: see :meth:`Evaluation.measure`; shots are the mean over all circuits.
        repeats: evaluations for each number of shots.
        seed: seed of the shots.
        costs: a device, of which the result says what one such evaluation takes.
        progress: show bars on standard error.

    Returns:
        ``shots`` of each circuit, and ``not_enough``, the largest number below it that was tried
        in vain, if any; ``tried``: for each number ``loss`` (mean), ``loss_low`` and
        ``loss_high`` (the interval), ``loss_error`` (root mean square) and ``divergence`` of the
        predictions; ``circuits`` and ``shots_in_all`` of one evaluation, with a device
        also ``device_seconds`` and ``cost``. With the allocation ``influence`` also ``compared``,
        such rows for both allocations with the same number of shots, and ``gain``, the
        ratio of their divergences: so many times the shots would be needed everywhere alike.

    Raises:
        KetformerError: the attention has no circuits, an argument is out of range, or a million
            shots of each circuit are not enough.
    """
    if not within > 0:
        raise KetformerError(f"within must be positive, got {within}")
    check_repeats(repeats)
    if allocation not in ALLOCATIONS:
        raise KetformerError(
            f"allocation must be one of {', '.join(ALLOCATIONS)}, got {allocation!r}"
        )
    rows, source = evaluation_sequences(run, limit=limit, progress=progress)
    evaluation = Evaluation(run.model, rows)
    tried: dict[int, dict[str, Any]] = {}
    with Bars(progress, "evaluation") as bars:

        def row(shots: int, how: Allocation) -> dict[str, Any]:
            step = bars(f"{shots:,} shots, {how}")
            return _repeated(evaluation, shots, how, repeats, seed, step)

        def enough(shots: int) -> bool:
            tried[shots] = row(shots, allocation)
            ends = tried[shots]["loss_low"], tried[shots]["loss_high"]
            return all(abs(end - evaluation.exact_loss) <= within for end in ends)

        low, high = _bracket(enough, within)
        while low and high / low > _CLOSE and high - low > 1:
            middle = round(math.sqrt(low * high))
            low, high = (low, middle) if enough(middle) else (middle, high)
        compared = (
            [
                tried[high] if how == allocation else row(high, how)
                for how in ("uniform", "influence")
            ]
            if allocation == "influence"
            else []
        )
    spent = evaluation.measure(high, allocation, seed).spent
    found: dict[str, Any] = {
        "run": str(run.path),
        "weights_sha256": run.weights_sha256,
        "attention": run.model.config.attention_name,
        **source,
        "sequences": len(rows),
        "targets": evaluation.targets,
        "exact_loss": evaluation.exact_loss,
        "within": within,
        "allocation": allocation,
        "repeats": repeats,
        "seed": seed,
        "shots": high,
        "not_enough": low or None,
        "tried": [tried[shots] for shots in sorted(tried)],
        "circuits": evaluation.circuits,
        "shots_in_all": sum(spent.values()),
    }
    if compared:
        uniform, influence = compared
        gain = uniform["divergence"] / influence["divergence"]
        found |= {"compared": compared, "gain": gain}
    if costs is not None:
        taken = costs.of_shots(spent)
        found |= costs.described()
        found |= {name: taken[name] for name in ("device_seconds", "cost")}
    return found


def _bracket(enough: Callable[[int], bool], within: float) -> tuple[int, int]:
    """A number of shots that is not enough, 0 if there is none, and one that is."""
    shots = _FIRST
    if enough(shots):
        while shots > 1 and enough(shots // 2):
            shots //= 2
        return shots // 2, shots
    while shots < MOST:
        shots = min(2 * shots, MOST)
        if enough(shots):
            return shots // 2, shots
    raise KetformerError(
        f"{MOST:,} shots of each circuit do not bring the loss within {within:g} of the exact one; "
        "allow a larger distance, or average over more sequences (--limit)"
    )


def _repeated(
    evaluation: Evaluation,
    shots: int,
    allocation: Allocation,
    repeats: int,
    seed: int,
    step: Callable[[int, int], None],
) -> dict[str, Any]:
    losses, divergences = [], []
    for repeat in range(repeats):
        measured = evaluation.measure(shots, allocation, seed + repeat)
        losses.append(measured.loss)
        divergences.append(measured.divergence)
        step(repeat + 1, repeats)
    mean, low, high = interval(losses)
    exact = evaluation.exact_loss
    return {
        "shots": shots,
        "allocation": allocation,
        "loss": mean,
        "loss_low": low,
        "loss_high": high,
        "exact_loss": exact,
        "loss_error": math.sqrt(math.fsum((loss - exact) ** 2 for loss in losses) / repeats),
        "divergence": math.fsum(divergences) / repeats,
    }
