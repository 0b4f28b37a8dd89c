"""The generated blocks of docs/tutorials/hardware.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]


def devices_losses(read: Read) -> str:
    """Losses and scores of each model on each device, raw and mitigated."""
    result = read("devices")
    cells = [
        [
            row["model"], f"`{row['device']}`", row["mitigation"], f"{row['loss']:.3f}",
            f"{row['exact_loss']:.3f}", f"{row['mean_weight_difference']:.3f}",
            f"{row['outcome_error']:.2f}",
            "–" if row["score_error"] is None else f"{row['score_error']:.2f}",
            f"{row['circuits']:,}",
        ]
        for row in result["rows"]
    ]  # fmt: skip
    titles = [
        "model", "device", "mitigation", "loss", "closed-form loss", "mean change in weight",
        "error of an expectation", "error of a score", "circuits",
    ]  # fmt: skip
    plan = result["plan"]
    return (
        f"{markdown_table(titles, cells)}\n"
        f"{plan['sequences']} sequences of {plan['tokens']} tokens each, {plan['shots']:,} shots a "
        "circuit. Errors are root mean squares; the losses are means over "
        f"{result['rows'][0]['targets']} targets, so compare the other columns first.\n"
    )


def devices_counts(read: Read) -> str:
    """What each model's circuits become on each device."""
    cells = [
        [
            row["model"], f"`{row['device']}`",
            f"{row['published_two_qubit_gates']} → {row['two_qubit_gates']}",
            f"{row['published_depth']} → {row['depth']}", f"{row['duration_us']:.1f}",
            f"{row['fidelity']:.2f}", f"{row['circuits']:,}", f"{row['device_seconds']:.1f}",
        ]
        for row in read("devices")["counts"]
    ]  # fmt: skip
    titles = [
        "model", "device", "two-qubit gates", "depth", "µs", "expected fidelity", "circuits",
        "device seconds",
    ]  # fmt: skip
    return markdown_table(titles, cells)
