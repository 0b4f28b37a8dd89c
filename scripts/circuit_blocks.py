"""The generated blocks of docs/circuits.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]
_MECHANISMS = ("overlap", "qisa", "qisa_a", "qsann")
_STUDIED = ("overlap", "qisa_a")


def check(read: Read) -> str:
    """Largest difference for every backend and mechanism."""
    result = read("circuit-check")
    rows = result["rows"]
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    found = {(row["backend"], row["mechanism"]): row["max_difference"] for row in rows}
    cells = [[m, *(f"{found[b, m]:.0e}" for b in backends)] for m in _MECHANISMS]
    (draws,) = {row["draws"] for row in rows}
    return f"{markdown_table(['mechanism', *backends], cells)}\n{draws} draws for each mechanism.\n"


def bench(read: Read) -> str:
    """Circuits per second."""
    result = read("circuit-bench")
    cells = [
        [row["work"], row["name"], f"{row['median_ms']:.3g}",
         f"{row['circuits_per_second']:,.0f}", f"{row['ratio']:.3g}×"]
        for row in result["rows"]
    ]  # fmt: skip
    machine = result["machine"]
    how = (
        f"Medians of {result['repeats']} rounds in one run on {machine['cpu']}, "
        f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}; circuits are built "
        "before timing starts.\n"
    )
    titles = ["workload", "run on", "ms", "circuits/s", "time relative to the closed form"]
    return f"{markdown_table(titles, cells)}\n{how}"


def noise(read: Read) -> str:
    """Losses and attention weights by number of shots and noise level."""
    out = []
    for name in _STUDIED:
        study = read(f"circuit-noise-{name}")
        rows = [[f"{row['shots']:,} shots", *_degraded(row)] for row in study["shots"]] + [
            [f"CNOT error {row['two_qubit']:g}", *_degraded(row)] for row in study["noise"]
        ]
        titles = [f"`{name}`", "mean change in weight", "loss", "closed-form loss"]
        out.append(markdown_table(titles, rows))
        out.append(
            f"{study['sequences']} sequences of {study['data']}, "
            f"{study['shots'][0]['targets']} targets; one-qubit gates fail ten times less often "
            "than CNOTs.\n"
        )
    return "\n".join(out)


def gradients(read: Read) -> str:
    """Cosines with the exact gradient."""
    rows = []
    for name in _STUDIED:
        for row in read(f"circuit-gradients-{name}")["rows"]:
            shots = "–" if row["shots"] is None else f"{row['shots']:,}"
            cells = [f"{row['cosine']:.4f}", f"{row['norm_ratio']:.3f}", f"{row['circuits']:,}"]
            rows.append([name, row["gradient"], row["backend"], shots, *cells])
    titles = ["model", "rule", "backend", "shots", "cosine", "norm / exact norm", "circuits"]
    return markdown_table(titles, rows)


def resources(read: Read) -> str:
    """Resource counts by width, and where a crossover lies."""
    tables = {name: read(f"circuit-resources-{name}") for name in _MECHANISMS}
    rows = [
        [f"{r['hidden_size']:,}", str(r["n_qubits"]), str(r["depth"]), str(r["one_qubit_gates"]),
         str(r["two_qubit_gates"]), f"{r['shots']:,}", f"{r['gates_per_sequence']:,}",
         f"{r['gates_with_shots']:.2e}", f"{r['classical_operations']:,}",
         f"{r['circuits_per_step']:,}"]
        for r in tables["overlap"]["rows"]
    ]  # fmt: skip
    titles = [
        "d", "qubits", "depth", "one-qubit gates", "CNOTs", "shots", "gates, run once",
        "gates with shots", "multiply-adds", "circuits per training step",
    ]  # fmt: skip
    first = tables["overlap"]["rows"][0]
    how = (
        f"`overlap`, one block and head, a sequence of {first['length']} tokens: "
        f"{first['circuits_per_sequence']} circuits. Shots are for a standard error of "
        f"{first['precision']} in a score. A training step has {first['batch']} sequences and "
        "computes its gradient by parameter shift.\n"
    )
    summaries = "\n".join(f"- {one['summary']}" for one in tables.values())
    return f"{markdown_table(titles, rows)}\n{how}\n{summaries}\n"


def _degraded(row: dict[str, Any]) -> list[str]:
    return [f"{row['mean_weight_difference']:.2g}", f"{row['loss']:.4f}",
            f"{row['exact_loss']:.4f}"]  # fmt: skip
