"""``ketformer bench``."""

from __future__ import annotations

from typing import Any

from ketformer.attention_bench import MECHANISMS, SIZES, bench_attention
from ketformer.circuit_bench import BACKENDS, bench_circuits
from ketformer.cli.common import Parser, print_json, print_table
from ketformer.errors import KetformerError

EXAMPLE = """  ketformer bench attention
  ketformer bench attention --mechanisms qisa overlap --sizes "d 64, T 64"
  ketformer bench circuits --backends torch cudaq --json"""


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument(
        "what", type=str,
        help="attention: every mechanism beside the classical one; circuits: each backend beside "
        "the closed form",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, help="timings of each (5)")
    parser.add_argument(
        "--mechanisms", type=str, nargs="+", default=list(MECHANISMS),
        help=f"attention: which ({' '.join(MECHANISMS)})",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", type=str, nargs="+", default=list(SIZES),
        help=f"attention: of {'; '.join(SIZES)} (all)",
    )  # fmt: skip
    parser.add_argument(
        "--backends", type=str, nargs="+", default=list(BACKENDS),
        help=f"circuits: which ({' '.join(BACKENDS)})",
    )  # fmt: skip
    parser.add_argument("--length", type=int, default=16, help="circuits: tokens (16)")


def run(options: Any) -> int:
    """Time, and print ratios."""
    if options.what == "attention":
        if unknown := [name for name in options.sizes if name not in SIZES]:
            raise KetformerError(f"unknown size {unknown[0]!r}; known: {'; '.join(SIZES)}")
        result = bench_attention(
            options.mechanisms,
            sizes=[SIZES[name] for name in options.sizes],
            repeats=options.repeats,
        )
    elif options.what == "circuits":
        result = bench_circuits(options.backends, length=options.length, repeats=options.repeats)
    else:
        raise KetformerError(f"unknown benchmark {options.what!r}; known: attention, circuits")
    if options.json:
        print_json(result)
        return 0
    last = (
        ("circuits/s", "circuits_per_second")
        if options.what == "circuits"
        else ("parameters", "parameters")
    )
    columns = (
        ("", "name"), ("work", "work"), ("ms", "median_ms"), ("from", "low_ms"), ("to", "high_ms"),
        last, (f"times {result['rows'][0]['against']}", "ratio"),
    )  # fmt: skip
    print_table(result["rows"], columns)
    return 0
