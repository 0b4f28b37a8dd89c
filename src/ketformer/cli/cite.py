"""``ketformer cite``."""

from __future__ import annotations

import sys
from typing import Any

from ketformer.cli.common import Parser, print_json
from ketformer.report.citations import citations

EXAMPLE = """  ketformer cite qisa qm9 ketformer >> references.bib"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "names", type=str, nargs="+", metavar="NAME",
        help="mechanisms, data sets, or ketformer itself",
    )  # fmt: skip


def run(options: Any) -> int:
    """Print the entries."""
    entries = citations(options.names)
    bibtex = "\n".join(entry.bibtex() for entry in entries)
    if options.json:
        listed = [{"key": entry.key, **entry.fields} for entry in entries]
        print_json({"entries": listed, "bibtex": bibtex})
        return 0
    print(bibtex, end="")
    if papers := [entry.fields["url"] for entry in entries if {"eprint", "doi"} & {*entry.fields}]:
        print(f"authors and titles: {', '.join(papers)}", file=sys.stderr)
    return 0
