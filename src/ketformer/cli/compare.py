"""``ketformer compare``."""

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
from ketformer.comparison.variants import as_file_name, controls, mechanisms_of
from ketformer.errors import KetformerError
from ketformer.models import PRESETS
from ketformer.runs.settings import add_settings_arguments
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.comparison import compare, merge
    from ketformer.comparison.tables import paired_rows
    from ketformer.report import write_report
    from ketformer.report.plots import plots_of_result
    from ketformer.runs import load_settings

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer compare classical qisa qsann --seeds 3
  ketformer compare classical qisa --preset qisa-small --data my.txt --max_steps 500
  ketformer compare qisa_a --controls all --data embedded
  ketformer compare overlap classical --preset overlap-small --data my.csv
  ketformer compare classical classical:initial_spread=1 overlap:n_qubits=4
  ketformer compare classical qisa --format latex --plots figures > table.tex
  ketformer compare --merge runs/seed42 runs/seed43 --out runs/both"""

USAGE = (
    "ketformer compare A B ... [--preset P] [--seeds N] [--out FOLDER] [--key value ...]\n"
    "       ketformer compare --merge FOLDER FOLDER ... --out FOLDER"
)

_ABOUT_IT = {
    "json", "attentions", "preset", "seeds", "match", "initial_spread", "rates", "search_share",
    "controls", "fcd", "targets", "jobs", "cluster", "out", "merge", "format", "plots",
}  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "attentions", type=str, nargs="*", default=[],
        help=f"mechanisms to compare, of {', '.join(ATTENTION)}, each with or without options of "
        "its own, as in overlap:n_qubits=4,entanglement=none; or hybrids, one for each layer: "
        "overlap+classical; the first is the reference",
    )  # fmt: skip
    parser.add_argument(
        "--preset", type=str, default="char-small", help="preset or YAML file (char-small)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each row (3)")
    parser.add_argument(
        "--match", type=bool, default=True,
        help="match the reference's parameters within 2 %% by the feed-forward width (true)",
    )  # fmt: skip
    parser.add_argument(
        "--initial_spread", type=float | None, default=1.0,
        help="standard deviation of the scores with which each row starts, unless it has its own; "
        "null leaves every mechanism's own start (1)",
    )  # fmt: skip
    parser.add_argument(
        "--rates", type=int, default=3,
        help="learning rates to try for each row, in steps of √10 around --learning_rate or the "
        "preset's; 1 uses that rate without a search (3)",
    )  # fmt: skip
    parser.add_argument(
        "--search_share", type=float, default=1 / 3,
        help="length of a trial of a learning rate, as a share of the whole training (0.333)",
    )  # fmt: skip
    parser.add_argument(
        "--controls", type=str | None, default=None,
        help=f"control rows to add, separated by commas: {', '.join(controls())}, or all",
    )  # fmt: skip
    parser.add_argument(
        "--fcd", type=bool, default=False,
        help="for molecules: also the Fréchet ChemNet distance, minutes for each run (false)",
    )  # fmt: skip
    parser.add_argument(
        "--targets", type=int, default=0,
        help="for conditional models: molecules to sample for each property, two deviations below "
        "and above its mean; 0 for none (0)",
    )  # fmt: skip
    add_jobs_arguments(parser)
    parser.add_argument(
        "--out", type=str | None, default=None, help="output folder (runs/compare-…)"
    )
    add_paper_arguments(parser)
    parser.add_argument(
        "--merge", type=str, nargs="+", default=[],
        help="instead: folders of comparisons made apart with the same settings, of other seeds or "
        "other arms, to put together as one in --out",
    )  # fmt: skip
    add_settings_arguments(parser)


def run(options: Any) -> int:
    """Compare, print the tables, and write a page next to the result."""
    plots = check_paper_arguments(options)
    if options.merge:
        return _merge(options, plots)
    given = {k: v for k, v in options.as_dict().items() if k not in _ABOUT_IT}
    if decided := [f"--{key}" for key in ("attention", "attention_options") if key in given]:
        raise KetformerError(
            f"{' and '.join(decided)}: the rows of a comparison are the named mechanisms, and "
            "options belong to one of them, as in overlap:n_qubits=4; options in a settings file "
            "apply to that file's attention"
        )
    if not options.attentions:
        raise KetformerError("the mechanisms to compare are required, or --merge with folders")
    settings = load_settings(options.preset).override(given)
    if "positions" not in given and options.preset in PRESETS:
        mechanisms = [name for arm in options.attentions for name in distinct(mechanisms_of(arm))]
        settings = with_positions_for(mechanisms, settings)
    if options.seeds < 1:
        raise KetformerError(f"seeds must be positive, got {options.seeds}")
    names = "-".join(map(as_file_name, options.attentions))
    out = Path(options.out or f"runs/compare-{settings.name}-{names}")
    result = compare(
        options.attentions,
        settings,
        out,
        seeds=options.seeds,
        match=options.match,
        initial_spread=options.initial_spread,
        rates=options.rates,
        search_share=options.search_share,
        controls=[name.strip() for name in (options.controls or "").split(",") if name.strip()],
        with_fcd=options.fcd,
        targets=options.targets,
        processes=runs_at_once(options),
        cluster=options.cluster,
    )
    seeds = f"{options.seeds} seed{'s' if options.seeds > 1 else ''}"
    summary = f"{', '.join(options.attentions)} on {settings.data}, {seeds}."
    return _show(options, result, out, summary, plots)


def _merge(options: Any, plots: Path | None) -> int:
    """Merge; the options of a comparison would have no effect."""
    parser = Parser("compare", "merge", EXAMPLE)
    add_arguments(parser)
    usual = parser.get_defaults()
    of_merge = ("merge", "out", "json", "format", "plots")
    if given := [
        k for k, v in options.as_dict().items() if k not in of_merge and v != usual.get(k)
    ]:
        name = "mechanisms" if given[0] == "attentions" else f"--{given[0]}"
        raise KetformerError(f"{name}: not with --merge, which takes everything from its folders")
    if options.out is None:
        raise KetformerError("--merge needs --out, a new folder for the result")
    out = Path(options.out)
    summary = f"Merged from {', '.join(options.merge)}."
    return _show(options, merge(options.merge, out), out, summary, plots)


def _show(options: Any, result: dict[str, Any], out: Path, summary: str, plots: Path | None) -> int:
    """Write the page and the plots, and print the tables."""
    report = write_report(out / "report.html", "Ketformer comparison", summary, result)
    drawn = plots_of_result(result, out, plots) if plots else []
    if options.json:
        files = {"plots": list(map(str, drawn))} if plots else {}
        print_json({**result, "report": str(report), **files})
        return 0
    written = "\n".join([f"report: {report}", *(f"plot: {path}" for path in drawn)])
    if options.format:
        print_formatted(result, options.format)
        print(written, file=sys.stderr)
        return 0
    print_rows(result["rows"], result["columns"])
    if tests := paired_rows(result):
        print(f"\nAgainst {result['reference']}, seed by seed:\n")
        print_table(tests, [(key, key) for key in tests[0]])
    print("\n" + "\n".join(result["notes"]))
    print("\n" + written)
    return 0
