"""``ketformer compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.attention import ATTENTION
from ketformer.cli.common import Parser, print_json, print_rows
from ketformer.comparison import compare
from ketformer.report import write_report
from ketformer.settings import add_settings_arguments, load_settings
from ketformer.tables import columns_of

EXAMPLE = """  ketformer compare classical qisa qsann --seeds 3
  ketformer compare classical qisa --preset qisa-small --data my.txt --max_steps 500
  ketformer compare overlap classical --preset overlap-qm9-deep --data my.csv"""

USAGE = "ketformer compare A B ... [--preset P] [--seeds N] [--out FOLDER] [--key value ...]"

_ABOUT_IT = {"json", "attentions", "preset", "seeds", "match", "fcd", "targets", "out"}
_DECIDED = {"attention", "attention_options"}  # by the mechanisms that are compared


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument(
        "attentions", type=str, nargs="+",
        help=f"two or more of {', '.join(ATTENTION)}; the first is the reference",
    )  # fmt: skip
    parser.add_argument("--preset", type=str, default="char-gpt", help="preset or YAML (char-gpt)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each (3)")
    parser.add_argument(
        "--match", type=bool, default=True,
        help="match the reference's parameters within 2 %% by the feed-forward width (true)",
    )  # fmt: skip
    parser.add_argument(
        "--fcd", type=bool, default=False,
        help="of molecules: the Fréchet ChemNet distance as well, minutes for each run (false)",
    )  # fmt: skip
    parser.add_argument(
        "--targets", type=int, default=0,
        help="of conditional models: molecules to sample for each property at its mean minus "
        "and plus two deviations; 0 for none (0)",
    )  # fmt: skip
    parser.add_argument("--out", type=str | None, default=None, help="folder (runs/compare-…)")
    add_settings_arguments(parser)


def run(options: Any) -> int:
    """Compare, print the table, write a page beside the result."""
    given = {k: v for k, v in options.as_dict().items() if k not in _ABOUT_IT | _DECIDED}
    settings = load_settings(options.preset).override(given)
    names = "-".join(options.attentions)
    out = Path(options.out or f"runs/compare-{settings.name}-{names}")
    result = compare(
        options.attentions,
        settings,
        out,
        seeds=options.seeds,
        match=options.match,
        with_fcd=options.fcd,
        targets=options.targets,
    )
    seeds = f"{options.seeds} seed{'s' if options.seeds > 1 else ''}"
    summary = f"{', '.join(options.attentions)} on {settings.data}, {seeds}."
    report = write_report(out / "report.html", "Ketformer comparison", summary, result)
    if options.json:
        print_json({**result, "report": str(report)})
        return 0
    columns = columns_of(result)
    print_rows(result["rows"], (*columns[:2], ("FFN width", "intermediate_size"), *columns[2:]))
    if options.seeds > 1:
        print(f"\n± is half of the 95 % interval over {seeds}.")
    print(f"\nreport: {report}")
    return 0
