"""``ketformer data``."""

from __future__ import annotations

from typing import Any

from ketformer.cli.common import Parser, print_json
from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS, DataSet, find_here, locate

EXAMPLE = "  ketformer data list\n  ketformer data get tinyshakespeare"


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("action", type=str, help="list or get")
    parser.add_argument("name", type=str | None, nargs="?", default=None, help="data set to get")


def run(options: Any) -> int:
    """List the data sets, or fetch one into the cache."""
    if options.action == "list":
        rows = [_row(dataset) for dataset in DATASETS.values()]
        if options.json:
            print_json({"rows": rows})
            return 0
        for row in rows:
            print(f"{row['name']:<16} {row['description']}")
            size = f"; {row['bytes']:,} bytes" if row["bytes"] else ""
            place = row["path"] or "not on this machine"
            print(f"{'':<16} licence: {row['licence']}{size}; {place}")
            if row["sha256"]:
                print(f"{'':<16} sha256: {row['sha256']}")
        return 0
    if options.action != "get":
        raise KetformerError(f"unknown action {options.action!r}; known: list, get")
    if options.name not in DATASETS:
        raise KetformerError(f"no data set {options.name!r}; known: {', '.join(DATASETS)}")
    path = locate(DATASETS[options.name])
    if options.json:
        print_json({"name": options.name, "path": str(path)})
    else:
        print(path)
    return 0


def _row(dataset: DataSet) -> dict[str, Any]:
    try:
        path = find_here(dataset) if dataset.filename else "made on the spot"
    except KetformerError as error:  # another file of that name
        path = str(error)
    return {
        "name": dataset.name,
        "description": dataset.description,
        "licence": dataset.licence,
        "sha256": dataset.sha256 or None,
        "bytes": dataset.size or None,
        "path": None if path is None else str(path),
    }
