"""``ketformer report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.cli.common import Parser, print_json
from ketformer.errors import KetformerError
from ketformer.report import report_of

EXAMPLE = """  ketformer report runs/mine
  ketformer report runs/compare-char-small-classical-qisa
  ketformer report runs/one runs/two --out both.html
  ketformer report results/reproduce-qisa.json --out qisa.html"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "paths", type=str, nargs="+", metavar="RUN_OR_FOLDER",
        help="run directories, folders of compare, reproduce or demo, or their result files",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="the HTML file (report.html in the first one's folder)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Write the page and print its path."""
    if options.out and Path(options.out).suffix.lower() not in (".html", ".htm"):
        raise KetformerError(f"--out must be an .html file, got {options.out}")
    report = report_of(options.paths, options.out)
    if options.json:
        print_json({"report": str(report.path), "sections": report.sections, "notes": report.notes})
        return 0
    for note in report.notes:
        print(note)
    print(report.path)
    return 0
