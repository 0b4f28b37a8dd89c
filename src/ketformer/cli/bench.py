"""``ketformer bench``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer import bench
from ketformer.bench.sizes import ATTENTION_SIZES, GENERATION_SIZES, PEER_SIZES
from ketformer.cli import VERBS
from ketformer.cli.common import Parser, print_json, print_table
from ketformer.errors import KetformerError
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.bench.machine import named_machine, timed_machine
    from ketformer.utils.timing import profiles_in

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer bench attention
  ketformer bench attention --mechanisms qisa overlap --sizes "d 64, T 64"
  ketformer bench attention --mechanisms qisa_a qisa_a:register=head
  ketformer bench attention --compiled false
  ketformer bench generation --mechanisms qisa
  ketformer bench start
  ketformer bench circuits --backends torch cudaq --json
  ketformer bench all --profile profiles --json"""

_TIMES = (("ms", "median_ms"), ("from", "low_ms"), ("to", "high_ms"))
_ALL = "all"


@dataclass(frozen=True)
class Benchmark:
    """One of the verb's benchmarks.

    Attributes:
        does: one line for the help.
        run: called with those of its options that were given, by name.
        options: names of its options.
        columns: columns of its table, between ``work`` and the ratio.
        sizes: choices for ``--sizes``.
    """

    does: str
    run: Callable[..., dict[str, Any]]
    options: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    sizes: dict[str, Any] | None = None


# To import a benchmark takes seconds, so each is when it is run.
BENCHMARKS = {
    "attention": Benchmark(
        "every mechanism against classical attention",
        lambda **options: bench.bench_attention(**options),
        ("repeats", "mechanisms", "sizes", "compiled"),
        (*_TIMES, ("parameters", "parameters")),
        ATTENTION_SIZES,
    ),
    "generation": Benchmark(
        "sampling with the KV cache against transformers' GPT-2",
        lambda **options: bench.bench_generation(**options),
        ("repeats", "mechanisms", "sizes"),
        (*_TIMES, ("tokens/s", "tokens_per_second"), ("molecules/s", "molecules_per_second")),
        GENERATION_SIZES,
    ),
    "circuits": Benchmark(
        "each backend against the closed form",
        lambda **options: bench.bench_circuits(**options),
        ("repeats", "backends", "length"),
        (*_TIMES, ("circuits/s", "circuits_per_second")),
    ),
    "peers": Benchmark(
        "the exact path against PennyLane and CUDA-Q",
        lambda **options: bench.bench_peers(**options),
        ("repeats", "sizes"),
        _TIMES,
        PEER_SIZES,
    ),
    "memory": Benchmark(
        "peak memory of a long sequence against classical attention",
        lambda **options: bench.bench_memory(**options),
        ("repeats", "mechanisms", "length"),
        (("MiB", "peak_mib"), ("from", "low_mib"), ("to", "high_mib")),
    ),
    "start": Benchmark(
        "processor time of every verb's help, of an import and of an audit, against Python alone",
        lambda **options: bench.bench_start(list(VERBS), **options),
        ("repeats",),
        (("CPU ms", "cpu_ms"), *_TIMES),
    ),
}


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    listed = "; ".join(f"{name}: {b.does}" for name, b in BENCHMARKS.items())
    parser.add_argument("what", type=str, help=f"{listed}; {_ALL}: one after another")
    parser.add_argument("--repeats", type=int | None, help="measurements of each (5; memory: 3)")
    parser.add_argument(
        "--mechanisms", type=str, nargs="+",
        help=f"{_owners('mechanisms')}: mechanisms to measure; of attention also with options, as "
        "in overlap:entanglement=none",
    )  # fmt: skip
    sizes = "; ".join(
        f"{name}: {', '.join(map(repr, b.sizes))}" for name, b in BENCHMARKS.items() if b.sizes
    )
    parser.add_argument("--sizes", type=str, nargs="+", help=f"sizes to run, of {sizes} (all)")
    parser.add_argument(
        "--backends", type=str, nargs="+",
        help="circuits: backends to time (every installed exact one)",
    )  # fmt: skip
    parser.add_argument(
        "--length", type=int | None, help="tokens in a sequence (circuits: 16; memory: 4,096)"
    )
    parser.add_argument(
        "--compiled", type=bool | None,
        help="attention: use torch.compile, which needs a C++ compiler on a CPU (true)",
    )  # fmt: skip
    parser.add_argument(
        "--profile", type=Path | None, metavar="FOLDER",
        help="also run each timed job once under torch's profiler, and write a table and a trace "
        "here",
    )  # fmt: skip


def run(options: Any) -> int:
    """Time the chosen benchmarks and print ratios."""
    known = [*BENCHMARKS, _ALL]
    if options.what not in known:
        raise KetformerError(f"unknown benchmark {options.what!r}; known: {', '.join(known)}")
    names = list(BENCHMARKS) if options.what == _ALL else [options.what]
    # Reports mistakes before the first timing.
    chosen = {name: _chosen(name, options) for name in names}
    with profiles_in(options.profile):
        results = {name: BENCHMARKS[name].run(**chosen[name]) for name in names}
    if options.json:
        print_json(results[options.what] if options.what != _ALL else _together(results))
        return 0
    for name, result in results.items():
        against = result["rows"][0]["against"]
        columns = (("", "name"), ("work", "work"), *BENCHMARKS[name].columns)
        print_table(result["rows"], (*columns, (f"times {against}", "ratio")))
    print(f"on {named_machine(timed_machine())}")
    return 0


def _chosen(name: str, options: Any) -> dict[str, Any]:
    """The given options, as the benchmark takes them."""
    every = {option for b in BENCHMARKS.values() for option in b.options}
    given = {key: options[key] for key in sorted(every) if options[key] is not None}
    benchmark = BENCHMARKS[name]
    foreign = sorted(set(given) - set(benchmark.options))
    shared = {"repeats"} if options.what == _ALL else set(benchmark.options)
    if foreign or set(given) - shared:
        option = (foreign or sorted(set(given) - shared))[0]
        raise KetformerError(f"--{option} applies only to bench {_owners(option)}")
    if "sizes" in given:
        sizes = benchmark.sizes or {}
        if unknown := [size for size in given["sizes"] if size not in sizes]:
            raise KetformerError(f"unknown size {unknown[0]!r}; known: {'; '.join(sizes)}")
        given["sizes"] = [sizes[size] for size in given["sizes"]]
    return given


def _owners(option: str) -> str:
    return ", ".join(name for name, b in BENCHMARKS.items() if option in b.options)


def _together(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All rows in one object, each with its benchmark's name, and the machine once."""
    rows = [{"bench": name, **row} for name, result in results.items() for row in result["rows"]]
    notes = {name: result["notes"] for name, result in results.items() if "notes" in result}
    repeats = {name: result["repeats"] for name, result in results.items()}
    return {"rows": rows, "repeats": repeats, "notes": notes, "machine": timed_machine()}
