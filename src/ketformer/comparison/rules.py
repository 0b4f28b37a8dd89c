"""The rules by which a verdict follows from losses: what is a gain, and what explains it.

With M the mechanism's loss, R that of classical attention and X that of a control, seed by seed:

1. A mechanism that sees the tokens it should predict **leaks**, whatever its loss.
2. There is **no gain** unless M is below R in a paired t-test at 5 %. That is one test, and the
   controls are asked only after it, so that taking more of them hides no gain. On a leaderboard it
   is adjusted by Holm's rule for the number of mechanisms.
3. A control's *share* of the gain is the mean of R - X over the mean of R - M. The gain is
   **explained** by every control that has at least half of it and that M does not beat in a paired
   t-test at 5 %, adjusted by Holm's rule for the number of controls. The share's interval is the
   95 % t-interval of R - X, divided by the mean gain.
4. A control that changes the mechanism still has the mechanism in it, and may be better for two
   reasons. Where it adds or evens out something that is not the mechanism's own, both sides have
   it, M' and R', and the share is what that takes away of the gain: that of X = M + R' - M', which
   M beats if M' beats R' (:func:`on_both_sides`).
5. Otherwise the gain is **not explained** by any control.

The smallest difference that the seeds could show is the one that the test of M against R finds with
80 % power, given the deviation of the paired differences.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy import stats

from ketformer.comparison.statistics import holm, paired
from ketformer.errors import KetformerError

Answer = Literal["leaks", "no gain", "explained", "not explained"]

_LEVEL = 0.05
_POWER = 0.8
_HALF = 0.5


@dataclass(frozen=True)
class Share:
    """What a control has of the gain.

    Attributes:
        control: name of its row.
        reason: what it is, in one line.
        share: 1 for as much as the mechanism; None if there is no gain to share.
        low: lower end of the share's 95 % interval.
        high: upper end.
        difference: mean of M - X, below 0 where the mechanism is better.
        p: of M against X, adjusted for the number of controls.
    """

    control: str
    reason: str
    share: float | None
    low: float | None
    high: float | None
    difference: float
    p: float | None


@dataclass(frozen=True)
class Verdict:
    """The answer to "is the gain real, and what explains it?".

    Attributes:
        mechanism: name of its row.
        answer: ``leaks``, ``no gain``, ``explained`` or ``not explained``.
        explained_by: names of the controls that explain the gain, the largest share first.
        difference: mean of M - R in nats per token, with the prefix alone.
        interval: its 95 % interval.
        p: of the paired test, adjusted for the number of mechanisms judged together.
        seeds: number of seeds.
        smallest_difference: what these seeds could show, in nats per token.
        sentence: the answer in words.
        attribution: every control's share of the gain.
    """

    mechanism: str
    answer: Answer
    explained_by: list[str]
    difference: float
    interval: tuple[float, float]
    p: float | None
    seeds: int
    smallest_difference: float
    sentence: str
    attribution: list[Share]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def judge(
    mechanism: tuple[str, Sequence[float]],
    reference: tuple[str, Sequence[float]],
    controls: Mapping[str, tuple[str, Sequence[float]]],
    *,
    p: float | None = None,
    leak: str = "",
) -> Verdict:
    """Apply the rules.

    Args:
        mechanism: name, and losses with the prefix alone, one for each seed.
        reference: the same for classical attention.
        controls: for each control its reason and its losses.
        p: of the gain, adjusted for the mechanisms that are judged beside it; by default as it is.
        leak: how the leak shows, in a sentence; empty if the mechanism is causal.

    Raises:
        KetformerError: fewer than two seeds, or not equally many.
    """
    name, losses = mechanism
    baseline = reference[1]
    if len(losses) < 2 or any(len(c) != len(losses) for _, c in [reference, *controls.values()]):
        raise KetformerError("a verdict needs the same two or more seeds of every row")
    against = paired(losses, baseline)
    tests = {control: paired(losses, values) for control, (_, values) in controls.items()}
    p = against["p_value"] if p is None else p
    adjusted = dict(zip(tests, holm([t["p_value"] for t in tests.values()]), strict=True))
    gain = -against["difference"]
    is_gain = gain > 0 and _is_sure(p)
    shares = [
        _share(control, reason, gain if is_gain else None, baseline, values, tests[control],
               adjusted[control])
        for control, (reason, values) in controls.items()
    ]  # fmt: skip
    explaining = sorted(
        (s for s in shares if s.share is not None and s.share >= _HALF and not _beaten(s)),
        key=lambda s: -(s.share or 0),
    )
    answer: Answer = "not explained"
    if leak:
        answer, explaining = "leaks", []
    elif not is_gain:
        answer = "no gain"
    elif explaining:
        answer = "explained"
    smallest = _smallest(losses, baseline)
    facts = (name, reference[0], against, p, len(losses))
    return Verdict(
        mechanism=name,
        answer=answer,
        explained_by=[share.control for share in explaining],
        difference=against["difference"],
        interval=(against["low"], against["high"]),
        p=p,
        seeds=len(losses),
        smallest_difference=smallest,
        sentence=leak or _sentence(answer, facts, explaining, shares, smallest),
        attribution=shares,
    )


def on_both_sides(
    mechanism: Sequence[float],
    changed: Sequence[float],
    reference: Sequence[float],
) -> list[float]:
    """The losses of a control that is a change to both sides: X = M + R' - M'.

    Args:
        mechanism: losses of the mechanism as it is, M, one for each seed.
        changed: those of the mechanism with the change, M'.
        reference: those of classical attention that has it too, R'.
    """
    return [m + r - c for m, c, r in zip(mechanism, changed, reference, strict=True)]


def _share(
    control: str,
    reason: str,
    gain: float | None,
    baseline: Sequence[float],
    values: Sequence[float],
    test: Mapping[str, Any],
    p: float | None,
) -> Share:
    own = paired(baseline, values)
    share, low, high = (
        None if gain is None else own[key] / gain for key in ("difference", "low", "high")
    )
    return Share(control, reason, share, low, high, test["difference"], p)


def _is_sure(p: float | None) -> bool:
    return p is not None and p < _LEVEL


def _beaten(share: Share) -> bool:
    """Whether the mechanism is better than the control."""
    return share.difference < 0 and _is_sure(share.p)


def _smallest(values: Sequence[float], reference: Sequence[float]) -> float:
    """The difference that the paired test finds with 80 % power."""
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    free = len(differences) - 1
    quantiles = stats.t.ppf(1 - _LEVEL / 2, free) + stats.t.ppf(_POWER, free)
    return float(quantiles * statistics.stdev(differences) / math.sqrt(len(differences)))


def _sentence(
    answer: Answer,
    facts: tuple[str, str, Mapping[str, Any], float | None, int],
    explaining: Sequence[Share],
    shares: Sequence[Share],
    smallest: float,
) -> str:
    name, reference, against, p, seeds = facts
    said = "no p" if p is None else "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    measured = (
        f"{against['difference']:+.3f} nats per token against {reference} "
        f"(95 % interval {against['low']:+.3f} to {against['high']:+.3f}, {said}, {seeds} seeds)"
    )
    if answer == "no gain":
        return (
            f"No gain: {name} has {measured}; these seeds would have shown a difference of "
            f"{smallest:.3f}."
        )
    if answer == "explained":
        named = [f"{s.control} accounts for {100 * (s.share or 0):.0f} %" for s in explaining]
        return (
            f"Gain explained by {', '.join(s.control for s in explaining)}: {name} has "
            f"{measured}, of which {', '.join(named)}."
        )
    if not shares:
        return f"Gain, not explained: {name} has {measured}; no control was run."
    best = max(shares, key=lambda s: s.share or 0)
    return (
        f"Gain not explained by any control: {name} has {measured}; the best of {len(shares)} "
        f"controls, {best.control}, accounts for {100 * (best.share or 0):.0f} %."
    )
