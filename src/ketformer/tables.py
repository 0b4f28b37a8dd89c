"""How a row of results is written in words, for the terminal, a page and Markdown alike."""

from __future__ import annotations

from typing import Any

Columns = tuple[tuple[str, str], ...]

#: Heading and key of each column, of text.
COLUMNS: Columns = (
    ("attention", "name"),
    ("parameters", "parameters"),
    ("cross entropy", "cross_entropy"),
    ("prefix only", "prefix_cross_entropy"),
    ("CER", "cer"),
    ("WER", "wer"),
    ("time", "relative_inference_time"),
    ("causal", "causal"),
)

#: The same of molecules. Validity is of the sampled, uniqueness of the valid, novelty of the
#: unique; the loss is without padding.
MOLECULE_COLUMNS: Columns = (
    ("attention", "name"),
    ("parameters", "parameters"),
    ("loss", "loss"),
    ("prefix only", "prefix_loss"),
    ("accuracy", "token_accuracy"),
    ("valid", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty"),
    ("time", "relative_inference_time"),
    ("causal", "causal"),
)

#: Of the hybrid decoder's table: the loss as the paper has it, padding counted.
OVERLAP_COLUMNS: Columns = (
    ("model", "name"),
    ("parameters", "parameters"),
    ("seeds", "seeds"),
    ("published loss", "published_loss"),
    ("loss", "loss_as_published"),
    ("without padding", "loss"),
    ("published valid / unique / novel", "published_samples"),
    ("valid", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty"),
)


def overlap_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of ``reproduce overlap`` with their published figures as cells."""
    shown = []
    for row in rows:
        published = row["published"]
        shares = [published.get(key) for key in ("validity", "uniqueness", "novelty")]
        loss = published["loss"]
        shown.append(
            {
                **row,
                "published_loss": "–" if loss is None else f"{loss:.3f}",
                "published_samples": "–"
                if None in shares
                else " / ".join(f"{share:.3f}" for share in shares),
            }
        )
    return shown


def columns_of(result: dict[str, Any]) -> Columns:
    """The columns for a comparison's task, and for how it was made equal."""
    first, size, *others = MOLECULE_COLUMNS if _is_molecules(result) else COLUMNS
    equal: Columns = (("FFN width", "intermediate_size"),) if result.get("matched") else ()
    if result.get("search"):
        equal += (("rate", "learning_rate"),)
    return (first, size, *equal, *others)


def honest_metrics(result: dict[str, Any]) -> Columns:
    """Heading and key of what a leak cannot improve, of a comparison's task."""
    if _is_molecules(result):
        return (("prefix only", "prefix_loss"), ("valid", "validity"), ("novel", "novelty"))
    return (
        ("prefix only", "prefix_cross_entropy"),
        ("CER, free", "free_running_cer"),
        ("WER, free", "free_running_wer"),
    )


def paired_rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """Each row's differences to the first, with intervals and Holm's p; none for one seed."""
    shown = []
    for row in result["rows"]:
        cells = {"attention": row["name"]}
        for title, key in honest_metrics(result):
            test = (row.get("paired") or {}).get(key)
            if test is None or test["low"] is None:
                continue
            half = test["high"] - test["difference"]
            cells[title] = f"{test['difference']:+.3f} ± {half:.3f}"
            cells[f"p, {title}"] = _p(test.get("p_adjusted"))
        if len(cells) > 1:
            shown.append(cells)
    return shown


def notes_on(result: dict[str, Any]) -> list[str]:
    """What a reader of a comparison's table must know, a sentence each."""
    rows, seeds, training = result["rows"], len(result["seeds"]), result["settings"]["training"]
    if training.get("max_steps", -1) > 0:
        length = f"{training['max_steps']:,} steps"
    else:
        length = f"{training.get('num_train_epochs', 3):g} epochs"
    notes = [f"{seeds} seed{'s' if seeds > 1 else ''}, {length} each."]
    if seeds > 1:
        notes.append(
            "± is half of the 95 % interval over the seeds; p is of a paired t-test, by Holm's "
            "rule for as many rows."
        )
    if result.get("matched"):
        notes.append(
            f"Parameters are matched to {rows[0]['name']} within 2 % by the feed-forward width."
        )
    if search := result.get("search"):
        rates = ", ".join(f"{rate:g}" for rate in search["rates"])
        notes.append(
            f"Learning rate: the best of {rates} on the validation part, after "
            f"{100 * search['share']:.0f} % of the training, with a seed of its own."
        )
        ends = search["rates"][0], search["rates"][-1]
        if at_edge := [row["name"] for row in rows if row["learning_rate"] in ends]:
            notes.append(
                f"The best rate of {', '.join(at_edge)} is the lowest or highest tried: one beyond "
                "it may be better."
            )
    controls = [row for row in rows if row.get("control")]
    notes += [f"{row['name']} is a control: {row['control']}." for row in controls]
    if leaky := [row["name"] for row in rows if not row["causal"]]:
        notes.append(
            f"{', '.join(leaky)} sees the tokens to be predicted: no language model, whatever its "
            "cross entropy."
        )
    return notes


def _is_molecules(result: dict[str, Any]) -> bool:
    return bool(result["settings"]["task"] == "molecules")


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


def markdown(rows: list[dict[str, Any]], columns: Columns = COLUMNS) -> str:
    """A Markdown table of the rows."""
    lines = [
        "| " + " | ".join(title for title, _ in columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(cell(row, key) for _, key in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
