"""Cells and notes for a table of results, on the terminal, in HTML and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ketformer.tasks.metric import metrics_of

#: Heading and key of each column.
Columns = Sequence[Sequence[str]]


def columns_of(result: dict[str, Any]) -> Columns:
    """Heading and key of each column, given a comparison's task and how rows were matched."""
    equal = [("FFN width", "intermediate_size")] if result.get("matched") else []
    if any(row.get("learning_rate") for row in result["rows"]):
        equal.append(("rate", "learning_rate"))
    if any(row.get("start_entropy") for row in result["rows"]):
        equal.append(("entropy at start", "start_entropy"))
    metrics = metrics_of(result["settings"].get("task", "text"))
    targets = [("target error", "target_error")]
    if all((row.get("target_error") or {}).get("mean") is None for row in result["rows"]):
        targets = []
    return (
        ("attention", "name"),
        ("parameters", "parameters"),
        *equal,
        *((metric.column, metric.name) for metric in metrics if metric.column),
        *targets,
        ("time", "relative_inference_time"),
        ("causal", "causal"),
    )


def paired_rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """Each row's differences to the first, with intervals and Holm's p; empty for one seed."""
    shown = []
    for row in result["rows"]:
        cells = {"attention": row["name"]}
        for metric in metrics_of(result["settings"].get("task", "text")):
            title, test = metric.paired, (row.get("paired") or {}).get(metric.name)
            if not title or test is None or test["low"] is None:
                continue
            half = test["high"] - test["difference"]
            cells[title] = f"{test['difference']:+.3f} ± {half:.3f}"
            cells[f"p, {title}"] = _p(test.get("p_adjusted"))
        if len(cells) > 1:
            shown.append(cells)
    return shown


def length_of(training: Mapping[str, Any]) -> str:
    """The length of a training in words: ``1,000 steps``, ``3 epochs``."""
    if training.get("max_steps", -1) > 0:
        return f"{training['max_steps']:,} steps"
    return f"{training.get('num_train_epochs', 3):g} epochs"


def notes_on(result: dict[str, Any]) -> list[str]:
    """Notes for the reader of a comparison's table, one sentence each."""
    rows, seeds = result["rows"], len(result["seeds"])
    length = length_of(result["settings"]["training"])
    notes = [f"{seeds} seed{'s' if seeds > 1 else ''}, {length} each."]
    if seeds > 1:
        notes.append(
            "± is half of the 95 % interval over the seeds; p is from a paired t-test, adjusted "
            "by Holm's rule for the number of rows."
        )
    if result.get("matched"):
        notes.append(
            f"Parameters are matched to {rows[0]['name']} within 2 % by the feed-forward width."
        )
    if spread := result.get("initial_spread"):
        notes.append(
            f"Scores start with a standard deviation of {spread:g} over the keys wherever weights "
            "or temperature can set it; entropy at the start is that of the weights on the first "
            "batch, relative to equal weights."
        )
    if stateful := [row["name"] for row in rows if _has_no_start(row)]:
        notes.append(
            f"{', '.join(stateful)}: no attention weights that could start alike or have an "
            "entropy, in some layers at least; it begins as it is."
        )
    if search := result.get("search"):
        rates = ", ".join(f"{rate:g}" for rate in search["rates"])
        notes.append(
            f"Learning rate: the best of {rates}, and of rates beyond these where the best was at "
            f"the edge, on the validation part, after {100 * search['share']:.0f} % of the "
            "training, with a separate seed."
        )
        if edge := [row["name"] for row in rows if at_edge(row)]:
            notes.append(
                f"The best rate for {', '.join(edge)} is the lowest or highest tried: one "
                "beyond it may be better."
            )
    controls = [row for row in rows if row.get("control")]
    notes += [f"{row['name']} is a control: {row['control']}." for row in controls]
    if leaky := [row["name"] for row in rows if not row["causal"]]:
        notes.append(
            f"{', '.join(leaky)} sees the tokens to be predicted: not a language model, whatever "
            "its cross entropy."
        )
    return notes


def _has_no_start(row: dict[str, Any]) -> bool:
    """Whether its start was measured in vain: the mixer keeps a state, or weights have signs."""
    return bool(row["causal"]) and row.get("start_entropy", 0) is None


def at_edge(row: dict[str, Any]) -> bool:
    """Whether no rate beyond the chosen one was tried on one side."""
    rates = [trial["learning_rate"] for trial in row.get("learning_rates") or []]
    return bool(rates) and row["learning_rate"] in (min(rates), max(rates))


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def cell(row: dict[str, Any], key: str) -> str:
    """One cell: a name, a count, ``mean ± half-width``, a factor, yes or no."""
    value = row[key]
    if value is None:
        return "–"
    if key == "learning_rate":
        return f"{value:.2g}"
    if key == "start_entropy":
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, dict):
        if value["mean"] is None:
            return "–"
        spread = "" if value["low"] is None else f" ± {value['high'] - value['mean']:.3f}"
        return f"{value['mean']:.3f}{spread}"
    if isinstance(value, float):
        return f"{value:.2f}×"
    return f"{value:,}" if isinstance(value, int) else str(value)
