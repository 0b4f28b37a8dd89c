"""The data, and the part of it, that an evaluation uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ketformer.errors import KetformerError
from ketformer.runs import Run

PARTS = ("train", "validation", "test")


def way_and_part(
    own: str, split: str | None, ways: Iterable[str], parts: Iterable[str] = PARTS
) -> tuple[str, str]:
    """The split method and the part that ``split`` names.

    Args:
        own: the run's split method.
        split: a split method, meaning its test part; a part under the run's own method; or
            None for the run's test part.
        ways: the task's split methods.
        parts: the parts that a method may give.

    Raises:
        KetformerError: ``split`` is neither a method nor a part.
    """
    known, parts = tuple(ways), tuple(parts)
    if split is None:
        return own, "test"
    if split in known:
        return split, "test"
    if split in parts:
        return own, split
    raise KetformerError(f"unknown split {split!r}; known: {', '.join((*known, *parts))}")


def check_same_data(run: Run, facts: dict[str, Any]) -> None:
    """Refuse data with the name of the run's training data but different content.

    Raises:
        KetformerError: the content differs.
    """
    trained = run.manifest.get("data", {})
    if trained.get("name") == facts["name"] and trained.get("sha256") != facts["sha256"]:
        raise KetformerError(
            f"{facts['name']} is not what {run.path} was trained on: its SHA-256 is "
            f"{facts['sha256'][:12]}…, not {str(trained.get('sha256'))[:12]}…"
        )
