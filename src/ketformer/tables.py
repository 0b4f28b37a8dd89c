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
    """The columns for a comparison's task."""
    molecules = result["settings"]["task"] == "molecules"
    return MOLECULE_COLUMNS if molecules else COLUMNS


def cell(row: dict[str, Any], key: str) -> str:
    """One cell: a name, a count, ``mean ± half-width``, a factor, yes or no."""
    value = row[key]
    if value is None:
        return "–"
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
