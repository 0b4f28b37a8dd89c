"""``ketformer report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import (
    Parser,
    add_paper_arguments,
    check_paper_arguments,
    print_formatted,
    print_json,
)
from ketformer.errors import KetformerError
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.report.page import report_on
    from ketformer.report.plots import write_plots
    from ketformer.report.sources import studies_of

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer report runs/mine
  ketformer report runs/compare-char-small-classical-qisa
  ketformer report runs/one runs/two --out both.html
  ketformer report results/reproduce-qisa.json --out qisa.html
  ketformer report runs/compare-char-small-classical-qisa --format latex --plots figures"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "paths", type=str, nargs="+", metavar="RUN_OR_FOLDER",
        help="run directories, folders of compare, reproduce or demo, or their result files",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None,
        help="the HTML file (report.html in the first one's folder; with --format none)",
    )  # fmt: skip
    add_paper_arguments(parser)


def run(options: Any) -> int:
    """Write the page and print its path, or print the tables."""
    if options.out and Path(options.out).suffix.lower() not in (".html", ".htm"):
        raise KetformerError(f"--out must be an .html file, got {options.out}")
    plots = check_paper_arguments(options)
    studies = studies_of(options.paths)
    if options.format == "csv" and len(studies) > 1:
        names = ", ".join(study.name for study in studies)
        raise KetformerError(f"a CSV file holds one table, and these are several ({names})")
    page = None
    if options.out or not options.format:
        first = Path(options.paths[0])
        folder = first if first.is_dir() else first.parent
        page = report_on(studies, Path(options.out or folder / "report.html"))
    drawn = write_plots(studies, plots) if plots else []
    if options.json and page:
        told = {"report": str(page.path), "sections": page.sections, "notes": page.notes}
        print_json({**told, "plots": list(map(str, drawn))} if plots else told)
        return 0
    if options.format:
        for number, study in enumerate(studies):
            print("\n" * bool(number), end="")
            print_formatted(study.result, options.format)
    notes, files = (page.notes, [page.path]) if page else ([], [])
    for line in (*notes, *files, *drawn):
        print(line, file=sys.stderr if options.format else sys.stdout)
    return 0
