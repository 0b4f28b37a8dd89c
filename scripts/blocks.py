"""What the modules of generated blocks share."""

from __future__ import annotations


def table(titles: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
