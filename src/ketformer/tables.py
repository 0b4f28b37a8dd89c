"""How a row of results is written in words, for the terminal, a page and Markdown alike."""

from __future__ import annotations

from typing import Any

#: Heading and key of each column.
COLUMNS = (
    ("attention", "name"),
    ("parameters", "parameters"),
    ("cross entropy", "cross_entropy"),
    ("prefix only", "prefix_cross_entropy"),
    ("CER", "cer"),
    ("WER", "wer"),
    ("time", "relative_inference_time"),
    ("causal", "causal"),
)


def cell(row: dict[str, Any], key: str) -> str:
    """One cell: a name, a count, ``mean ± half-width``, a factor, yes or no."""
    value = row[key]
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, dict):
        spread = "" if value["low"] is None else f" ± {value['high'] - value['mean']:.3f}"
        return f"{value['mean']:.3f}{spread}"
    if isinstance(value, float):
        return f"{value:.2f}×"
    return f"{value:,}" if isinstance(value, int) else str(value)


def markdown(rows: list[dict[str, Any]], columns: tuple[tuple[str, str], ...] = COLUMNS) -> str:
    """A Markdown table of the rows."""
    lines = [
        "| " + " | ".join(title for title, _ in columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(cell(row, key) for _, key in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
