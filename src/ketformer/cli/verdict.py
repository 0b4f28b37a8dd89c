"""``ketformer verdict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.attention import ATTENTION
from ketformer.attention.layers import distinct
from ketformer.cli.common import (
    Parser,
    add_jobs_arguments,
    add_paper_arguments,
    check_paper_arguments,
    print_formatted,
    print_json,
    print_rows,
    print_table,
    runs_at_once,
)
from ketformer.cli.positions import with_positions_for
from ketformer.comparison.budget import seconds_of
from ketformer.errors import KetformerError
from ketformer.models import PRESETS
from ketformer.runs.settings import add_settings_arguments
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.comparison.variants import as_file_name, mechanisms_of
    from ketformer.comparison.verdicts import verdict
    from ketformer.report import write_report
    from ketformer.report.plots import plots_of_result
    from ketformer.runs import load_settings

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer verdict overlap --budget 30m
  ketformer verdict overlap:n_qubits=4 --preset char-small --data my.txt --budget 2h
  ketformer verdict qisa_published --preset qisa-small --data embedded --json"""

USAGE = "ketformer verdict MECHANISM [--preset P] [--budget 30m] [--out FOLDER] [--key value ...]"

_ABOUT_IT = {
    "json", "mechanism", "preset", "budget", "jobs", "cluster", "out", "format", "plots",
}  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "mechanism", type=str,
        help=f"the mechanism to judge, of {', '.join(ATTENTION)}, with or without options of its "
        "own, as in overlap:n_qubits=4",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, default="char-small", help="preset or YAML file (char-small)"
    )
    parser.add_argument(
        "--budget", type=str, default="30m",
        help="time to spend, which decides on steps, seeds and controls: 30m, 2h, 1h30m (30m)",
    )  # fmt: skip
    add_jobs_arguments(parser)
    parser.add_argument(
        "--out", type=str | None, default=None, help="output folder (runs/verdict-…)"
    )
    add_paper_arguments(parser)
    add_settings_arguments(parser)


def run(options: Any) -> int:
    """Judge, print the sentence and the tables, and write a page next to the result."""
    given = {k: v for k, v in options.as_dict().items() if k not in _ABOUT_IT}
    if "attention" in given or "attention_options" in given:
        raise KetformerError(
            "the mechanism is the first argument, and its options belong to it, as in "
            "overlap:n_qubits=4"
        )
    settings = load_settings(options.preset).override(given)
    if "positions" not in given and options.preset in PRESETS:
        settings = with_positions_for(distinct(mechanisms_of(options.mechanism)), settings)
    name = f"verdict-{settings.name}-{as_file_name(options.mechanism)}"
    out = Path(options.out or f"runs/{name}")
    seconds = seconds_of(options.budget)
    plots = check_paper_arguments(options)
    result = verdict(
        options.mechanism,
        settings,
        out,
        seconds=seconds,
        processes=runs_at_once(options),
        cluster=options.cluster,
    )
    comparison = result.pop("comparison")
    page = write_report(
        out / "report.html", f"Verdict on {options.mechanism}", result["sentence"], comparison
    )
    drawn = plots_of_result(comparison, out, plots) if plots else []
    if options.json:
        print_json({**result, "report": str(page)})
        return 0
    written = "\n".join([f"report: {page}", *(f"plot: {path}" for path in drawn)])
    if options.format:
        print_formatted(comparison, options.format)
        print(f"{result['sentence']}\n{written}", file=sys.stderr)
        return 0
    print(f"{result['sentence']}\n")
    print_rows(comparison["rows"], comparison["columns"])
    if shares := [_cells(share) for share in result["attribution"]]:
        print("\nWhat each control accounts for of the gain:\n")
        print_table(shares, [(key, key) for key in shares[0]])
    if left_out := result["plan"]["left_out"]:
        print(f"\nNot within the budget: {', '.join(left_out)}.")
    print("\n" + "\n".join(comparison["notes"]))
    print("\n" + written)
    return 0


def _cells(share: dict[str, Any]) -> dict[str, str]:
    of_gain = "–"
    if share["share"] is not None:
        low, high = (100 * share[key] for key in ("low", "high"))
        of_gain = f"{100 * share['share']:.0f} % ({low:.0f} to {high:.0f})"
    p = "–" if share["p"] is None else f"{share['p']:.3f}"
    return {
        "control": share["control"],
        "of the gain": of_gain,
        "mechanism minus control": f"{share['difference']:+.3f}",
        "p": p,
        "what it is": share["reason"],
    }
