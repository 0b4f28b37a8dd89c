"""The generated blocks of docs/robustness.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]
_SHOWN = 6  # points shown of each curve


def robust_fuzz(read: Read) -> str:
    """What atheris tried and found."""
    result = read("fuzz")
    rows = [
        [row["reader"], *(f"{row[key]:,}" for key in ("seconds", "cases", "coverage", "crashes"))]
        for row in result["rows"]
    ]
    titles = ["reader", "seconds", "cases", "branches reached", "findings"]
    how = f"`{result['command']}`, atheris {result['atheris']}, Python {result['python']}.\n"
    return f"{markdown_table(titles, rows)}\n{how}"


def robust_million(read: Read) -> str:
    """Memory and rate of a long sampling, killed once."""
    result = read("million")
    first, second = result["stretches"]
    told = (
        f"{result['rows']:,} molecules ({result['bytes'] / 1e6:,.0f} MB of CSV) from "
        f"`{result['weights']}`, killed with SIGKILL at {first['killed_at']:,}; the same command "
        f"then resumed there. {100 * result['validity']:.1f} % valid, {result['unique']:,} "
        f"distinct, {result['novel']:,} of them not in the training set. The second call wrote "
        f"{result['molecules_per_second']:,.0f} molecules per second "
        f"({second['fastest_per_second']:,.0f} at best) on {_cores(result['machine'])}.\n"
    )
    rows = [row for part in (first, second) for row in _some(part["curve"], _SHOWN)]
    cells = [
        [f"{row['rows']:,}", *(f"{row[key]:,.0f}" for key in ("seconds", "rss_mib", "pss_mib"))]
        for row in rows
    ]
    titles = [
        "molecules on disk", "seconds into the call", "MiB of the main process",
        "MiB of all three processes, shared pages counted once",
    ]  # fmt: skip
    peaks = [f"{max(part['peak'][key] for part in (first, second)):,.0f} MiB" for key in
             ("rss_mib", "pss_mib")]  # fmt: skip
    most = (
        f"Peak, including the picture drawn at the end: {peaks[0]} for the main process, "
        f"{peaks[1]} for all three.\n"
    )
    return f"{told}\n{markdown_table(titles, cells)}\n{most}"


def _some(curve: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Pick evenly spaced points, from the first that this call wrote to the last."""
    curve = [row for row in curve if row["rows"] > curve[0]["rows"]]
    steps = [round(i * (len(curve) - 1) / (count - 1)) for i in range(count)]
    return [curve[i] for i in dict.fromkeys(steps)]


def _cores(machine: dict[str, Any]) -> str:
    threads = machine["threads"]
    return f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''} each"
