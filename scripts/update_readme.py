"""Rewrite the generated blocks of README.md from the files under results/."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from ketformer.reproduction import verdict
from ketformer.tables import COLUMNS, markdown

ROOT = Path(__file__).resolve().parent.parent
QISA_COLUMNS = (COLUMNS[0], ("what it is", "role"), *COLUMNS[1:])


def blocks() -> dict[str, str]:
    """The content of each generated block, by name."""
    result: dict[str, Any] = json.loads((ROOT / "results/reproduce-qisa.json").read_text())
    steps, machine = result["settings"]["training"]["max_steps"], result["manifest"]["machine"]
    how = (
        f"{len(result['seeds'])} seeds, {steps:,} steps each; ± is half of the 95 % interval. "
        f"Inference time relative to classical attention, one run on {machine['cpu']}, "
        f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}.\n"
    )
    return {"qisa": f"{markdown(result['rows'], QISA_COLUMNS)}\n{how}\n{verdict(result)}\n"}


def updated(readme: str) -> str:
    """The README with its blocks filled in anew."""
    for name, content in blocks().items():
        start, end = f"<!-- {name}: made by `make readme` -->", f"<!-- /{name} -->"
        readme, found = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}",
            lambda _, block=f"{start}\n{content}{end}": block,
            readme,
            flags=re.DOTALL,
        )
        if found != 1:
            sys.exit(f"README.md has {found} blocks named {name}, not one")
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text()))
