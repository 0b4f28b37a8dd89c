"""Statistics over seeds: intervals, and paired tests against a reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from scipy import stats


def summarise(values: Sequence[Any]) -> dict[str, Any]:
    """Mean and 95 % t-interval; the bounds are None for a single value, all if one is None."""
    if any(value is None for value in values):
        return {"mean": None, "low": None, "high": None, "values": list(values)}
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None, "values": list(values)}
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return {
        "mean": mean,
        "low": float(mean - half),
        "high": float(mean + half),
        "values": list(values),
    }


def paired(values: Sequence[Any], reference: Sequence[Any]) -> dict[str, Any]:
    """The mean difference to the reference, seed by seed, with a paired t-test.

    Two runs with the same seed share their batches, so the seed's effect on both cancels.

    Args:
        values: the values of one metric, one for each seed.
        reference: the reference's values, in the same order.

    Returns:
        ``difference`` (mean of value minus reference), its 95 % interval ``low`` to ``high``,
        and the two-sided ``p_value``; None where undefined: a value is missing, there is only
        one seed, or all differences are equal (no p).
    """
    unknown = {"difference": None, "low": None, "high": None, "p_value": None}
    if any(value is None for value in (*values, *reference)):
        return unknown
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return {**unknown, "difference": mean}
    if max(differences) == min(differences):
        return {"difference": mean, "low": mean, "high": mean, "p_value": None}
    test = stats.ttest_rel(values, reference)
    interval = test.confidence_interval(0.95)
    return {
        "difference": mean,
        "low": float(interval.low),
        "high": float(interval.high),
        "p_value": float(test.pvalue),
    }


def compare_to_first(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
    """Add ``paired`` to each row: every metric tested against the first row, whose own is None.

    ``p_adjusted`` is Holm's, for the number of rows compared: with six mechanisms, one of the raw
    p-values would fall below 0.05 by chance in more than one comparison out of five.

    Args:
        rows: rows of a comparison, each metric as from :func:`summarise`; changed in place.
        metrics: names of the metrics.
    """
    reference, *others = rows
    reference["paired"] = None
    for row in others:
        row["paired"] = {
            metric: paired(row[metric]["values"], reference[metric]["values"]) for metric in metrics
        }
    for metric in metrics:
        tests = [row["paired"][metric] for row in others]
        for test, p in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
            test["p_adjusted"] = p


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down p-values, in the same order; missing ones are not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        adjusted[i] = least
    return adjusted
