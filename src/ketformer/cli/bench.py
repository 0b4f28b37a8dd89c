"""``ketformer bench``."""

from __future__ import annotations

from typing import Any

from ketformer.circuit_bench import bench_circuits
from ketformer.cli.common import Parser, print_json, print_table
from ketformer.errors import KetformerError

EXAMPLE = "  ketformer bench circuits\n  ketformer bench circuits --backends torch cudaq --json"


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument("what", type=str, help="circuits: each backend beside the closed form")
    parser.add_argument(
        "--backends", type=str, nargs="+", default=["torch", "cudaq", "pennylane", "qiskit"],
        help="which (torch cudaq pennylane qiskit)",
    )  # fmt: skip
    parser.add_argument("--length", type=int, default=16, help="tokens of the sequence (16)")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each (5)")


def run(options: Any) -> int:
    """Time, and print ratios."""
    if options.what != "circuits":
        raise KetformerError(f"unknown benchmark {options.what!r}; known: circuits")
    result = bench_circuits(options.backends, length=options.length, repeats=options.repeats)
    if options.json:
        print_json(result)
        return 0
    columns = (
        ("", "name"), ("work", "work"), ("ms", "median_ms"), ("from", "low_ms"), ("to", "high_ms"),
        ("circuits/s", "circuits_per_second"), ("time against closed form", "ratio"),
    )  # fmt: skip
    print_table(result["rows"], columns)
    return 0
