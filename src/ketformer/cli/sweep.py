"""``ketformer sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import (
    Parser,
    add_format_argument,
    check_paper_arguments,
    print_json,
    print_table,
)
from ketformer.comparison.formats import Table, csv_text, table_text
from ketformer.errors import KetformerError
from ketformer.models import PRESETS
from ketformer.runs.settings import add_settings_arguments
from ketformer.utils.lazy import lazily
from ketformer.utils.machine import default_processes

if TYPE_CHECKING:
    from ketformer.comparison.sweep import (
        grid_points,
        parsed_grid,
        parsed_ranges,
        random_points,
        sweep,
    )
    from ketformer.comparison.variants import as_file_name
    from ketformer.runs import load_settings

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer sweep char-small --data my.txt --grid learning_rate=1e-3,3e-3,1e-2
  ketformer sweep char-small --attention overlap --grid learning_rate=1e-3,3e-3 \\
      --grid attention_options.n_qubits=4,6
  ketformer sweep char-small --random 20 --range learning_rate=1e-4:1e-2:log \\
      --range hidden_size=32:128 --grid num_attention_heads=1"""

USAGE = (
    "ketformer sweep PRESET_OR_YAML [--grid KEY=A,B ...] [--random N --range KEY=LOW:HIGH[:log] "
    "...] [--out FOLDER] [--key value ...]"
)

_ABOUT_IT = {"json", "format", "preset", "grid", "random", "range", "jobs", "out"}


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "preset", type=str, help=f"a preset ({', '.join(PRESETS)}) or a YAML file of settings"
    )
    parser.add_argument(
        "--grid", type=str, action="append", default=[], metavar="KEY=A,B",
        help="values of an option of training, the model, the mechanism (attention_options.NAME) "
        "or the feed-forward layer (feed_forward_options.NAME); repeated for further options, "
        "every combination is trained",
    )  # fmt: skip
    parser.add_argument(
        "--random", type=int | None, default=None,
        help="train only that many random combinations, of --grid and --range; --seed seeds them",
    )  # fmt: skip
    parser.add_argument(
        "--range", type=str, action="append", default=[], metavar="KEY=LOW:HIGH",
        help="with --random: a range to draw an option from; LOW:HIGH:log draws its logarithm, and "
        "whole bounds give whole numbers",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int | None, default=None,
        help="runs to train at once, sharing the cores (one for each core; 1 on a GPU)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None, help="output folder (runs/sweep-PRESET-KEYS)"
    )
    add_format_argument(parser)
    add_settings_arguments(parser)


def run(options: Any) -> int:
    """Sweep, and print the table."""
    check_paper_arguments(options)
    grid, ranges = parsed_grid(options.grid), parsed_ranges(options.range)
    keys = [*grid, *ranges]
    given = {k: v for k, v in options.as_dict().items() if k not in _ABOUT_IT}
    if not keys:
        raise KetformerError(
            "name what to sweep: --grid KEY=A,B or --random N --range KEY=LOW:HIGH"
        )
    if twice := [key for key in keys if key in given or (key in grid and key in ranges)]:
        raise KetformerError(f"{twice[0]} is given twice")
    if ranges and options.random is None:
        raise KetformerError("--range needs --random N, the number of values to draw")
    settings = load_settings(options.preset).override(given)
    points = (
        grid_points(grid)
        if options.random is None
        else random_points(grid, ranges, options.random, settings.training.get("seed", 42))
    )
    names = "-".join(as_file_name(key.rpartition(".")[2]) for key in keys)
    result = sweep(
        points,
        settings,
        options.out or Path("runs") / f"sweep-{settings.name}-{names}",
        processes=default_processes() if options.jobs is None else options.jobs,
    )
    if options.json:
        print_json(result)
    elif options.format == "csv":
        print(csv_text([_record(row) for row in result["rows"]]), end="")
    elif options.format:
        cells = [_cells(row) for row in result["rows"]]
        rows = [list(row.values()) for row in cells]
        print(table_text(Table(list(cells[0]), rows, " ".join(result["notes"])), options.format))
    else:
        cells = [_cells(row) for row in result["rows"]]
        print_table(cells, [(title, title) for title in cells[0]])
        print("\n" + "\n".join(result["notes"]))
        print(f"\nbest run: {result['rows'][0]['run']}")
    return 0


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """A row for CSV."""
    measured = {key: row[key] for key in ("parameters", "eval_loss", "run")}
    return {**row["changes"], **measured}


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """A row for people."""
    loss = row["eval_loss"]
    return {
        **{key: str(value) for key, value in row["changes"].items()},
        "parameters": f"{row['parameters']:,}",
        "validation loss": "not finite" if loss is None else f"{loss:.4f}",
    }
