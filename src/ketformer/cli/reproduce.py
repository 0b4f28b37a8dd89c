"""``ketformer reproduce``."""

from __future__ import annotations

from typing import Any

from ketformer.cli.common import Parser, print_json, print_rows, use_one_thread
from ketformer.errors import KetformerError
from ketformer.reproduction import QISA_CLAIM, reproduce_qisa, verdict
from ketformer.tables import COLUMNS

EXAMPLE = """  ketformer reproduce qisa
  ketformer reproduce qisa --seeds 1 --max_steps 200 --out runs/quick"""


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument("paper", type=str, help="qisa: arXiv 2603.03318")
    parser.add_argument(
        "--data", type=str, default="tinyshakespeare", help="data set or path (tinyshakespeare)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each row (3)")
    parser.add_argument("--max_steps", type=int | None, default=None, help="training steps (1000)")
    parser.add_argument(
        "--out", type=str, default="runs/reproduce-qisa", help="folder for the runs"
    )


def run(options: Any) -> int:
    """Reproduce, print the table and the verdict."""
    if options.paper != "qisa":
        raise KetformerError(f"unknown paper {options.paper!r}; known: qisa")
    if options.seeds < 1:
        raise KetformerError(f"seeds must be positive, got {options.seeds}")
    use_one_thread()
    changes = {} if options.max_steps is None else {"max_steps": options.max_steps}
    result = reproduce_qisa(options.out, data=options.data, seeds=options.seeds, changes=changes)
    if options.json:
        print_json(result)
        return 0
    print_rows(result["rows"], (COLUMNS[0], ("role", "role"), *COLUMNS[1:]))
    print("\nHow many times lower than classical attention (inference: how many times slower):\n")
    print_rows(_ratio_rows(result), _RATIO_COLUMNS)
    print(f"\n{verdict(result)}")
    return 0


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
