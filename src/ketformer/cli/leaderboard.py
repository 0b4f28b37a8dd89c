"""``ketformer leaderboard``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import (
    Parser,
    add_jobs_arguments,
    add_paper_arguments,
    check_paper_arguments,
    print_json,
    print_table,
    runs_at_once,
)
from ketformer.comparison.formats import csv_text, table_text
from ketformer.comparison.terms import TERMS
from ketformer.errors import KetformerError
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.comparison.leaderboards import (
        leaderboard,
        ranking,
        records_of,
        sentences,
    )
    from ketformer.report.plots import plots_of_leaderboard

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer leaderboard                     # all of them: hours on two cores
  ketformer leaderboard mine                # a mechanism of your package, and its twins
  ketformer leaderboard mine:width=8 pam --tasks text --seeds 3 --plots figures
  ketformer leaderboard mine --format latex > table.tex"""

USAGE = "ketformer leaderboard [MECHANISM ...] [--tasks text,molecules] [--seeds N] [--out FOLDER]"


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "mechanisms", type=str, nargs="*", default=[],
        help="mechanisms, with or without options, as in overlap:n_qubits=4; each is compared with "
        "classical attention and with the twins that it names (every causal mechanism)",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", type=str, default=",".join(TERMS),
        help=f"tasks, separated by commas ({','.join(TERMS)})",
    )  # fmt: skip
    usual = ", ".join(f"{its.seeds} on {task}" for task, its in TERMS.items())
    parser.add_argument(
        "--seeds", type=int | None, default=None,
        help=f"seeds for each row, two at least ({usual})",
    )  # fmt: skip
    parser.add_argument("--max_steps", type=int | None, default=None, help="training steps (600)")
    add_jobs_arguments(parser)
    parser.add_argument(
        "--out", type=str, default="runs/leaderboard", help="output folder (runs/leaderboard)"
    )
    add_paper_arguments(parser)


def run(options: Any) -> int:
    """Train what is missing, and print a table for each task with the verdicts."""
    plots = check_paper_arguments(options)
    tasks = [name.strip() for name in options.tasks.split(",") if name.strip()]
    if unknown := sorted({*tasks} - {*TERMS}):
        raise KetformerError(f"unknown task {', '.join(unknown)}; known: {', '.join(TERMS)}")
    if not tasks:
        raise KetformerError("--tasks names no task")
    if options.seeds is not None and options.seeds < 2:
        raise KetformerError(f"a verdict needs two or more seeds, got {options.seeds}")
    seeds = {} if options.seeds is None else {"seeds": options.seeds}
    result = leaderboard(
        options.mechanisms,
        options.out,
        terms={task: replace(TERMS[task], **seeds) for task in TERMS if task in tasks},
        changes={} if options.max_steps is None else {"max_steps": options.max_steps},
        processes=runs_at_once(options),
        cluster=options.cluster,
    )
    drawn = plots_of_leaderboard(result, plots) if plots else []
    if options.json:
        files = {"plots": list(map(str, drawn))} if plots else {}
        print_json({**result, **files})
        return 0
    if options.format == "csv":
        print(csv_text(records_of(result)), end="")
    else:
        for task, board in result["tasks"].items():
            table = ranking(board)
            if options.format:
                print(table_text(table, options.format))
                continue
            rows = [dict(zip(table.titles, cells, strict=True)) for cells in table.rows]
            print(f"{task}, {board['data']}\n")
            print_table(rows, [(title, title) for title in table.titles])
            print("\n" + "\n".join([*sentences(board), "", *board["notes"]]) + "\n")
    for path in drawn:
        print(f"plot: {path}", file=sys.stderr if options.format else sys.stdout)
    return 0
