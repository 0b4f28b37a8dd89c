"""``ketformer reproduce``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import (
    Parser,
    add_jobs_arguments,
    add_paper_arguments,
    check_paper_arguments,
    print_facts,
    print_formatted,
    print_json,
    print_rows,
    runs_at_once,
    use_one_thread,
)
from ketformer.errors import KetformerError
from ketformer.reproduction.claims import claim_about
from ketformer.reproduction.rows import OVERLAP_ROWS, QISA_ROWS, TENSORIZED_ROWS
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.report.plots import plots_of_result
    from ketformer.reproduction import (
        repeat_run,
        reproduce_overlap,
        reproduce_qisa,
        reproduce_tensorized,
    )
    from ketformer.reproduction.qisa import QISA_CLAIM
    from ketformer.reproduction.tensorized import PICTURE

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer reproduce qisa
  ketformer reproduce qisa --seeds 1 --max_steps 200 --out runs/quick
  ketformer reproduce overlap
  ketformer reproduce tensorized
  ketformer reproduce qisa --rows classical,qisa --format latex
  ketformer reproduce overlap --rows overlap_sequence,classical_sequence --seeds 1
  ketformer reproduce runs/mine"""

PAPERS = {
    "qisa": "arXiv 2603.03318",
    "overlap": "arXiv 2502.19214",
    "tensorized": "arXiv 1906.09777, its leak",
}
#: The rows of each paper's table.
ROWS = {
    "qisa": [name for name, _, _ in QISA_ROWS],
    "overlap": [variant.name for variant in OVERLAP_ROWS],
    "tensorized": [name for name, _ in TENSORIZED_ROWS],
}
_DATA = {"qisa": "tinyshakespeare", "overlap": "qm9"}
_PAPER_ONLY = (
    "data", "seeds", "max_steps", "jobs", "cluster", "rows", "gradient", "format", "plots",
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    papers = "; ".join(f"{name}: {paper}" for name, paper in PAPERS.items())
    parser.add_argument(
        "paper", type=str,
        help=f"{papers}; or a run directory, to train it again and compare; of any other "
        "mechanism with a page, it says what a reproduction would need",
    )  # fmt: skip
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="data set or path (tinyshakespeare, qm9; random tokens for tensorized)",
    )
    parser.add_argument("--seeds", type=int | None, default=None, help="seeds for each row (3; 1)")
    parser.add_argument(
        "--max_steps", type=int | None, default=None, help="training steps (1000; 20 epochs; 600)"
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="folder for the runs (runs/reproduce-PAPER)"
    )
    add_jobs_arguments(parser)
    known = "; ".join(f"{paper}: {', '.join(names)}" for paper, names in ROWS.items())
    parser.add_argument(
        "--rows", type=str, nargs="+", default=[],
        help=f"for a paper: only these rows, separated by commas or spaces; {known}",
    )  # fmt: skip
    add_paper_arguments(parser)
    overlap = parser.add_argument_group("overlap")
    overlap.add_argument(
        "--gradient", type=str | None, default=None,
        help="gradient of the angles: exact, or spsa as in the released code (exact)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Reproduce, and print the table with its notes."""
    if options.paper not in PAPERS:
        if Path(options.paper).is_dir():
            return _run(options)
        if (claim := claim_about(options.paper)) and claim.needs:
            raise KetformerError(f"{options.paper} is {claim.outcome}")
        known = ", ".join(PAPERS)
        raise KetformerError(f"unknown paper {options.paper!r}; known: {known}, or a run directory")
    usual = 1 if options.paper == "tensorized" else 3
    seeds = usual if options.seeds is None else options.seeds
    if seeds < 1:
        raise KetformerError(f"seeds must be positive, got {seeds}")
    plots = check_paper_arguments(options)
    use_one_thread()
    common: dict[str, Any] = {
        "out": options.out or f"runs/reproduce-{options.paper}",
        "seeds": seeds,
        "processes": runs_at_once(options),
        "cluster": options.cluster,
        "changes": {} if options.max_steps is None else {"max_steps": options.max_steps},
        "rows": [row for part in options.rows for row in part.split(",") if row] or None,
    }
    if options.gradient and options.paper != "overlap":
        raise KetformerError("--gradient is for the paper overlap")
    if options.data and options.paper not in _DATA:
        raise KetformerError(f"--data: {options.paper} makes its own; leave it out")
    if options.paper == "tensorized":
        result = reproduce_tensorized(**common)
    else:
        common["data"] = options.data or _DATA[options.paper]
        overlap = options.paper == "overlap"
        result = _overlap(options, common) if overlap else reproduce_qisa(**common)
    drawn = plots_of_result(result, Path(common["out"]), plots) if plots else []
    if options.json:
        print_json({**result, "plots": list(map(str, drawn))} if plots else result)
        return 0
    if options.format:
        print_formatted(result, options.format)
    else:
        print_rows(result["rows"], result["columns"])
        printed = {"overlap": _print_targets, "qisa": _print_ratios, "tensorized": _print_notes}
        printed[options.paper](result)
        if options.paper == "tensorized" and common["rows"] is None:
            print(f"\nplot: {Path(common['out']) / PICTURE}")
    for path in drawn:
        print(f"plot: {path}", file=sys.stderr if options.format else sys.stdout)
    return 0


def _run(options: Any) -> int:
    """Train the run again; return 0 if the two are equal, 1 if not."""
    if given := [name for name in _PAPER_ONLY if options[name]]:
        raise KetformerError(f"--{given[0]} is for a paper; a run has its own")
    run = Path(options.paper)
    first = os.environ.get("RANK", "0") == "0"
    out = options.out or f"runs/reproduce-{run.resolve().name}"
    result = repeat_run(run, out, progress=first)
    equal = result["weights_equal"] and result["losses_equal"]
    if first and options.json:
        print_json(result)
    elif first:
        why = "; ".join(result["differs"]) or "machine and versions are the same"
        print_facts({k: v for k, v in result.items() if k != "differs"})
        print("\nThe same, bit for bit." if equal else f"\nNot the same ({why}).")
    return 0 if equal else 1


def _overlap(options: Any, common: dict[str, Any]) -> dict[str, Any]:
    gradient = options.gradient or "exact"
    if gradient not in ("exact", "spsa"):
        raise KetformerError(f"gradient must be exact or spsa, got {gradient!r}")
    return reproduce_overlap(**common, gradient=gradient)


def _print_targets(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        if targets := row.get("target_errors"):
            errors = ", ".join(
                f"{t['property']} {t['target']:.3g}: {t['mae']:.3g}"
                for t in targets
                if t["mae"] is not None
            )
            print(f"\n{row['name']}, mean absolute error at each target: {errors}")


def _print_ratios(result: dict[str, Any]) -> None:
    if any("ratio_to_classical" in row for row in result["rows"]):
        print(
            "\nHow many times lower than classical attention (inference: how many times slower):\n"
        )
        print_rows(_ratio_rows(result), _RATIO_COLUMNS)
    _print_notes(result)


def _print_notes(result: dict[str, Any]) -> None:
    print("\n" + "\n".join(result["notes"]))


_RATIO_COLUMNS = (
    ("", "name"),
    ("cross entropy", "cross_entropy"),
    ("prefix only", "prefix_cross_entropy"),
    ("CER", "cer"),
    ("WER", "wer"),
    ("inference", "relative_inference_time"),
)


def _ratio_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    claim = {
        "name": "paper's claim for QISA",
        "prefix_cross_entropy": "–",
        "causal": True,
        **QISA_CLAIM,
    }
    ours = [
        {**row, **row["ratio_to_classical"]} for row in result["rows"] if row["name"] != "classical"
    ]
    return [claim, *ours]
