"""How soon good molecules are found: the measures of PMO (Gao et al. 2022, arXiv 2206.12411)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

#: PMO looks at the molecules found so far after every 100 calls of the oracle.
EVERY = 100


def top_means(scores: Sequence[float], top: int = 10, every: int = EVERY) -> list[float]:
    """The mean of the best scores so far, after each ``every`` calls and after the last.

    Args:
        scores: those of distinct molecules, in the order in which the oracle was asked.
        top: of how many; of all as long as there are fewer.
        every: calls between two values.
    """
    best: list[float] = []
    means = []
    for place, score in enumerate(scores, 1):
        (heapq.heappush if len(best) < top else heapq.heappushpop)(best, score)
        if place % every == 0 or place == len(scores):
            means.append(sum(best) / len(best))
    return means


def top_auc(scores: Sequence[float], budget: int, top: int = 10, every: int = EVERY) -> float:
    """PMO's measure of efficiency: the area under the mean of the best scores, from 0 to 1.

    The curve starts at 0 and is linear between the values of :func:`top_means`. If there are
    fewer calls than the budget allows, its last value stands for the rest. The area is divided by
    the budget, so that scores from 0 to 1 give an area from 0 to 1.

    Args:
        scores: those of distinct molecules, in the order in which the oracle was asked.
        budget: how often the oracle may be asked.
        top: of how many the mean is.
        every: calls between two values of the curve.
    """
    scores = scores[:budget]
    area, before = 0.0, 0.0
    for number, mean in enumerate(top_means(scores, top, every)):
        calls = min(every, len(scores) - number * every)
        area += calls * (before + mean) / 2
        before = mean
    return (area + (budget - len(scores)) * before) / budget
