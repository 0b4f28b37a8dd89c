"""``ketformer circuit journal``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.cli.common import print_facts, print_json
from ketformer.errors import KetformerError


def run(options: Any) -> int:
    """Print what has been measured in each setting."""
    from ketformer.quantum.backends.journal import JOURNAL_FILE, summary

    if options.subject is None:
        raise KetformerError("name a run directory or a journal")
    path = Path(options.subject)
    found = summary(path / JOURNAL_FILE if path.is_dir() else path)
    if options.json:
        print_json(found)
        return 0
    for row in found["rows"]:
        of = "" if row["planned"] is None else f" of {row['planned']:,}"
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items())
        print_facts({**row, "settings": settings, "batches": f"{row['batches']:,}{of}"})
        print()
    print(f"{len(found['rows'])} settings in {found['journal']}")
    return 0
