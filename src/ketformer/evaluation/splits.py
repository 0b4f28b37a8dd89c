"""Which part of which data an evaluation is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ketformer.errors import KetformerError
from ketformer.runs import Run

PARTS = ("train", "validation", "test")


def way_and_part(own: str, split: str | None, ways: Iterable[str]) -> tuple[str, str]:
    """The way to split and the part that ``split`` stands for.

    Args:
        own: the run's way to split.
        split: a way, whose test part is meant; a part of the run's own way; or None.
        ways: those that the task knows.

    Raises:
        KetformerError: ``split`` is neither.
    """
    known = tuple(ways)
    if split is None:
        return own, "test"
    if split in known:
        return split, "test"
    if split in PARTS:
        return own, split
    raise KetformerError(f"unknown split {split!r}; known: {', '.join((*known, *PARTS))}")


def check_same_data(run: Run, facts: dict[str, Any]) -> None:
    """Refuse data of the name that the run was trained on, but with another content.

    Raises:
        KetformerError: it has changed.
    """
    trained = run.manifest.get("data", {})
    if trained.get("name") == facts["name"] and trained.get("sha256") != facts["sha256"]:
        raise KetformerError(
            f"{facts['name']} is not what {run.path} was trained on: its SHA-256 is "
            f"{facts['sha256'][:12]}…, not {str(trained.get('sha256'))[:12]}…"
        )
