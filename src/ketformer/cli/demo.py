"""``ketformer demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser, print_json, print_rows, use_one_thread
from ketformer.errors import KetformerError
from ketformer.utils.lazy import lazily
from ketformer.utils.machine import default_processes

if TYPE_CHECKING:
    from ketformer.report import write_report
    from ketformer.reproduction import run_demo

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = "  ketformer demo\n  ketformer demo --steps 100 --out runs/quick"


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("--out", type=str, default="runs/demo", help="output folder (runs/demo)")
    parser.add_argument("--steps", type=int | None, default=None, help="training steps (300; 400)")
    parser.add_argument(
        "--jobs", type=int | None, default=None,
        help="models to train at once (one for each core; 1 on a GPU)",
    )  # fmt: skip


def run(options: Any) -> int:
    """Train, compare and sample; print the tables and the report's path."""
    if options.steps is not None and options.steps < 1:
        raise KetformerError(f"steps must be positive, got {options.steps}")
    use_one_thread()
    jobs = default_processes() if options.jobs is None else options.jobs
    result = run_demo(options.out, steps=options.steps, processes=jobs)
    report = write_report(
        Path(options.out) / "report.html",
        "Ketformer demo",
        "Five attention mechanisms trained on Python's language reference, two on all small "
        "molecules of C, N, O and F. One seed and no size matching: it shows the tool and the "
        "leak, not which mechanism is better.",
        *({**result[task], "manifest": result["manifest"]} for task in ("text", "molecules")),
    )
    result["report"] = str(report)
    if options.json:
        print_json(result)
        return 0
    for row in result["text"]["rows"] + result["molecules"]["rows"]:
        print(f"\n── {row['name']} writes ──\n{row['sample'].strip()}")
    for comparison in (result["text"], result["molecules"]):
        print()
        print_rows(comparison["rows"], comparison["columns"])
    leaky = [row["name"] for row in result["text"]["rows"] if not row["causal"]]
    print(
        f"\n{', '.join(leaky)} sees the tokens it should predict: its cross entropy is not that "
        "of a language model.\n“prefix only” gives every model only the tokens before the target."
    )
    print(f"\nreport: {result['report']}")
    return 0
