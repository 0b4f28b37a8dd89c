"""The generated blocks of docs/scale.md, from results/scale.json and the benchmarks beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

# The released decoder's forward pass at batch 32: one block, one head, 23 positions.
_SEQUENCES, _POSITIONS = 32, 23
_CIRCUITS = _SEQUENCES * _POSITIONS * (_POSITIONS + 1) // 2
_QPUS = (1, 4, 16, 64)
_SHOTS = 1000
# Assumed shots per second of one device: orders of magnitude for two kinds.
_DEVICES = {"superconducting, 10,000 shots/s": 10_000, "trapped ions, 100 shots/s": 100}


def scale_assumed(read: Read) -> str:
    """The assumptions behind the tables."""
    made = read("scale")
    a, kept = made["assumed"], made["kept_bytes_per_width"]["classical"]
    gb = {key: f"{value / 1e9:.0f} GB" for key, value in a.items() if value > 1e9}
    return (
        f"- **Assumed**: {a['peak'] / 1e12:,.0f} TFLOP/s (bf16, dense, published for an H100 SXM), "
        f"of which {100 * a['utilisation']:.0f} % is reached; {gb['memory']} per GPU, "
        f"{100 * a['usable']:.0f} % of it for tensors; {gb['node_bandwidth']}/s between the "
        f"{a['gpus_in_node']} GPUs of a machine, {gb['network_bandwidth']}/s per GPU between "
        f"machines; {a['price']:.2f} dollars per GPU hour; {a['batch_tokens']:,} tokens per step; "
        f"{a['tokens_per_parameter']} tokens per parameter in all.\n"
        f"- **Measured**, on {made['machine']['cpu']}: a block of classical attention keeps "
        f"{kept:.0f} bytes per token and unit of width, under bf16 autocast.\n"
    )


def scale_training(read: Read) -> str:
    """Memory, time and cost of classical attention."""
    rows = []
    for row in read("scale")["training"]:
        plan, name = row["plan"], [row["model"], f"{row['parameters']:,}", str(row["gpus"])]
        if plan is None:
            rows.append([*name, "does not fit", *["–"] * 7])
            continue
        way = "FSDP" if plan["sharded"] else "DDP" if row["gpus"] > 1 else "one process"
        way += ", recomputed" if plan["recomputed"] else ""
        rows.append(
            [
                *name,
                way,
                f"{plan['sequences']} × {plan['accumulated']}",
                f"{plan['memory'] / 1e9:.1f}",
                f"{1000 * plan['step_s']:,.1f}",
                f"{plan['sent'] / 1e9:,.2f}",
                f"{100 * plan['efficiency']:.0f} %",
                _time(plan["hours"]),
                f"{plan['dollars']:,.2f}",
            ]
        )
    titles = [
        "model", "parameters", "GPUs", "strategy", "sequences × accumulated", "GB per GPU",
        "ms per step", "GB sent", "computing", "training time", "dollars",
    ]  # fmt: skip
    return markdown_table(titles, rows)


def scale_mechanisms(read: Read) -> str:
    """Operations of a training step relative to classical attention, and kept bytes."""
    made = read("scale")
    models = [model["name"] for model in made["models"]]
    ratio = {(r["attention"], r["model"]): r["ratio"] for r in made["mechanisms"]}
    kept = made["kept_bytes_per_width"]
    rows = [
        [name, *(f"{ratio[name, model]:.2f}×" for model in models), f"{kept[name]:.0f}"]
        for name in kept
    ]
    return markdown_table(["attention", *models, "bytes kept / width, measured"], rows)


def scale_measured(read: Read) -> str:
    """Measured times of a training step relative to classical attention."""
    bench = read("bench-attention")
    found = {
        (row["name"], row["work"].removeprefix("training step, ")): row["ratio"]
        for row in bench["rows"]
        if row["work"].startswith("training step")
    }
    names, works = (list(dict.fromkeys(column)) for column in zip(*found, strict=True))
    rows = [
        [name, *(f"{found[name, w]:.2f}×" if (name, w) in found else "–" for w in works)]
        for name in names
    ]
    machine = bench["machine"]
    how = (
        f"Whole models on {machine['gpu'] or machine['cpu']}, {machine['threads']} thread"
        f"{'s' if machine['threads'] > 1 else ''}.\n"
    )
    return f"{markdown_table(['attention', *works], rows)}\n{how}"


def scale_circuits(read: Read) -> str:
    """Time of the released decoder's forward pass by number of QPUs."""
    (bench,) = (
        row
        for row in read("circuit-bench")["rows"]
        if row["name"] == "cudaq" and row["work"].startswith("overlap")
    )
    rates = {f"CUDA-Q's `qpp-cpu`, {bench['circuits_per_second']:,.0f} circuits/s measured": (
        bench["circuits_per_second"]
    )}  # fmt: skip
    rates |= {
        f"{name}, {_SHOTS:,} shots per circuit": rate / _SHOTS for name, rate in _DEVICES.items()
    }
    rows = [[name, *(_time(_CIRCUITS / k / r / 3600) for k in _QPUS)] for name, r in rates.items()]
    how = (
        f"{_CIRCUITS:,} circuits of 7 qubits: {_SEQUENCES} sequences of {_POSITIONS} positions, "
        "all counted as distinct. Computed: only the first rate, on one QPU, is measured.\n"
    )
    return (
        f"{markdown_table(['each QPU', *(f'{k} QPU' + 's' * (k > 1) for k in _QPUS)], rows)}\n{how}"
    )


def _time(hours: float) -> str:
    for unit, size in (("days", 24), ("h", 1), ("min", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:,.1f} {unit}"
    return f"{3600 * hours:.3g} s"
