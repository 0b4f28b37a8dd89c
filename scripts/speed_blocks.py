"""The generated blocks of docs/speed.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.bench.machine import named_machine
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]


def speed_attention(read: Read) -> str:
    """Whole models relative to classical attention: one row per workload, compiled and not."""
    return _relative(read("bench-attention"), read("bench-attention-eager"))


def speed_attention_avx2(read: Read) -> str:
    """The same, compiled, with vectors of 256 bits."""
    return _relative(read("bench-attention-avx2"))


def _relative(fast: dict[str, Any], plain: dict[str, Any] | None = None) -> str:
    names = list(dict.fromkeys(row["name"] for row in fast["rows"]))
    ratios = {(row["work"], row["name"]): f"{row['ratio']:.2f}" for row in fast["rows"]}
    for row in plain["rows"] if plain else ():
        ratios[row["work"], row["name"]] += f" ({row['ratio']:.2f})"
    middle = {row["work"]: row["median_ms"] for row in fast["rows"] if row["name"] == names[0]}
    rows = [
        [work, f"{middle[work]:,.4g}", *(ratios[work, name] for name in names[1:])]
        for work in middle
    ]
    return f"{markdown_table(['workload', f'{names[0]}, ms', *names[1:]], rows)}\n{_how(fast)}"


def speed_gpu(read: Read) -> str:
    """Mechanisms on a GPU, without a compiler: one row each, for inference and a training step."""
    result = read("bench-attention-gpu")
    found = {(row["work"].split(",")[0], row["name"]): row for row in result["rows"]}
    names = dict.fromkeys(name for _, name in found)
    rows = [
        [name]
        + [
            cell
            for kind in ("inference", "training step")
            for row in [found[kind, name]]
            for cell in (f"{row['median_ms']:,.4g}", f"{row['ratio']:.2f}")
        ]
        for name in names
    ]
    titles = ["attention", "inference, ms", "ratio", "training step, ms", "ratio"]
    return f"{markdown_table(titles, rows)}\n{_how(result)}"


def speed_generation(read: Read) -> str:
    """Sampling with the key-value cache."""
    result = read("bench-generation")
    rows = []
    for row in result["rows"]:
        molecules = row["molecules_per_second"]
        rate = "–" if molecules is None else f"{molecules:,.0f}"
        rows.append([row["work"], row["name"], *_spread(row), f"{row['tokens_per_second']:,.0f}",
                     rate, f"{1 / row['ratio']:.2f}×"])  # fmt: skip
    titles = ["workload", "model", "ms", "from – to", "tokens/s", "molecules/s", "speed vs. GPT-2"]
    return f"{markdown_table(titles, rows)}\n{_how(result)}"


def speed_peers(read: Read) -> str:
    """The exact path compared with other simulators, and the training step."""
    result = read("bench-peers")
    notes = "".join(f"\n- {note}." for note in result["notes"])
    return f"{_times(result, 'time relative to')}{notes}\n"


def speed_memory(read: Read) -> str:
    """Peak memory for a long sequence."""
    result = read("bench-memory")
    rows = [
        [row["work"], row["name"], f"{row['peak_mib']:.1f}",
         f"{row['low_mib']:.1f} – {row['high_mib']:.1f}", f"{row['ratio']:.2f}×"]
        for row in result["rows"]
    ]  # fmt: skip
    titles = ["workload", "attention", "MiB", "from – to", "relative to `classical`"]
    return f"{markdown_table(titles, rows)}\n{_how(result, 'process', 'processes')}"


def speed_start(read: Read) -> str:
    """What each verb takes before its work begins."""
    result = read("cold-start")
    rows = []
    for row in result["rows"]:
        command = f"{row['name']} --help" if row["work"] == "help" else row["name"]
        wall = (f"{row[f'{key}_ms'] / 1000:.2f}" for key in ("median", "low", "high"))
        middle, low, high = wall
        rows.append([f"`{command}`", f"{row['cpu_ms'] / 1000:.2f}", f"{row['ratio']:.0f}×",
                     middle, f"{low} – {high}"])  # fmt: skip
    titles = ["command", "CPU, s", "relative to `python`", "wall time, s", "from – to"]
    versions = ", ".join(
        f"{name} {result['machine']['versions'][name]}" for name in ("torch", "transformers")
    )
    python = f"Python {result['machine']['python']}, {versions}"
    how = _how(result, "process", "processes").rstrip(".\n")
    return f"{markdown_table(titles, rows)}\n{how}; {python}.\n"


def _times(result: dict[str, Any], title: str) -> str:
    rows = [
        [row["work"], row["name"], *_spread(row), f"{row['ratio']:,.2f}× {row['against']}"]
        for row in result["rows"]
    ]
    return f"{markdown_table(['workload', 'with', 'ms', 'from – to', title], rows)}\n{_how(result)}"


def _spread(row: dict[str, Any]) -> list[str]:
    low, middle, high = (f"{row[f'{k}_ms']:,.4g}" for k in ("low", "median", "high"))
    return [middle, f"{low} – {high}"]


def _how(result: dict[str, Any], one: str = "round", many: str = "rounds") -> str:
    repeats = result["repeats"]
    where = named_machine(result["machine"])
    return f"Medians of {repeats} {many if repeats > 1 else one} in one run on {where}.\n"
