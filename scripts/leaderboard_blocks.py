"""The generated blocks of docs/leaderboard.md: the tables and the verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.comparison.leaderboards import ranking, sentences
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]


def leaderboard_terms(read: Read) -> str:
    """What all rows of a task share."""
    rows = [
        [task, its["data"], f"{its['parameters']:,}", its["length"], len(its["seeds"])]
        for task, its in read("leaderboard")["tasks"].items()
    ]
    return markdown_table(["task", "data", "parameters", "training", "seeds"], rows)


def leaderboard_text(read: Read) -> str:
    """The table on text, and the verdicts."""
    return _board(read, "text")


def leaderboard_molecules(read: Read) -> str:
    """The table on molecules, and the verdicts."""
    return _board(read, "molecules")


def _board(read: Read, name: str) -> str:
    task = read("leaderboard")["tasks"][name]
    table = ranking(task)
    said = "".join(f"- {sentence}\n" for sentence in sentences(task))
    return f"{markdown_table(table.titles, table.rows)}\n{said}\n{table.caption}\n"
