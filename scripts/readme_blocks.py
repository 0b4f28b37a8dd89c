"""The generated blocks of README.md and README.zh-CN.md: the same numbers, in two languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ketformer.comparison.tables import Columns, at_edge, cell, paired_rows
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

DEEP_COLUMNS = (
    ("attention", "name"),
    ("parameters", "parameters"),
    ("loss", "loss"),
    ("valid", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty"),
    ("FCD", "fcd"),
    ("LogP error", "LogP"),
    ("TPSA error", "TPSA"),
    ("MW error", "MW"),
)

# Templates in both languages, and Chinese words for headings and cells.
TEXT = yaml.safe_load((Path(__file__).parent / "readme_words.yaml").read_text(encoding="utf-8"))


def qisa(read: Read, language: str = "en") -> str:
    """The published QISA table, and what it says about the claim."""
    result = read("reproduce-qisa")
    rows, machine = result["rows"], result["manifest"]["machine"]
    ratios = {row["name"]: row["ratio_to_classical"]["cross_entropy"] for row in rows}
    facts = {
        **ratios,
        "seeds": len(result["seeds"]),
        "steps": result["settings"]["training"]["max_steps"],
        "cpu": machine["cpu"],
        "threads": machine["threads"],
        "plural": "s" if machine["threads"] > 1 else "",
        "leaky": "、".join(row["name"] for row in rows if not row["causal"]),
        "verdict": result["notes"][0],
    }
    return f"{table(rows, result['columns'], language)}\n{TEXT[language]['qisa'].format(**facts)}"


def overlap(read: Read, language: str = "en") -> str:
    """The hybrid decoder's table."""
    result, published = read("reproduce-overlap"), read("published-sequence")
    rows = result["rows"]
    falling = next(row for row in rows if row["name"] == "overlap_sequence")
    facts = {
        "loss": published["loss_as_published"],
        "valid": 100 * published["validity"],
        "unique": published["unique"],
        "sampled": published["sampled"],
        "falling": falling["loss_as_published"]["mean"],
        "fast": read("overlap-constant-0.005")["loss_as_published"],
        "slow": read("overlap-constant-0.001")["loss_as_published"],
    }
    shown = table(rows, result["columns"], language)
    return f"{shown}\n{TEXT[language]['overlap'].format(**facts)}"


def deep(read: Read, language: str = "en") -> str:
    """The conditional molecule models."""
    result, published = read("overlap-qm9-deep"), read("published-conditions")
    # Novel to the training part, as in papers; the comparison was measured when that was novelty.
    rows = [
        {
            **row,
            **_errors(row["target_errors"]),
            "novelty": row.get("novelty_to_training", row["novelty"]),
        }
        for row in result["rows"]
    ]
    released = {
        "fcd": None,
        **{key: _single(published[key]) for key in ("loss", "validity", "uniqueness")},
        "novelty": _single(published["novelty_to_training"]),
        "name": "released conditional weights",
        "parameters": published["parameters"],
        **_errors(published["target_errors"]),
    }
    facts = {
        "epochs": result["settings"]["training"]["num_train_epochs"],
        "seeds": len(result["seeds"]),
    }
    shown = table([*rows, released], DEEP_COLUMNS, language)
    return f"{shown}\n{TEXT[language]['deep'].format(**facts)}"


def chargpt(read: Read, language: str = "en") -> str:
    """The two papers' mechanisms on equal terms, with a heading."""
    result, words = read("compare-char-gpt-equal"), TEXT[language]
    parts = [words["chargpt_heading"], table(result["rows"], result["columns"], language)]
    if paired := paired_rows(result):
        columns = tuple((title, title) for title in paired[0])
        parts.append(words["chargpt_paired"].format(reference=result["rows"][0]["name"]))
        parts.append(table(paired, columns, language))
    notes = result["notes"] if language == "en" else _chinese_notes(result)
    return "\n".join([*parts, ("" if language == "zh" else " ").join(notes) + "\n"])


def _chinese_notes(result: dict[str, Any]) -> list[str]:
    """Chinese version of :func:`ketformer.comparison.tables.notes_on`, for this comparison."""
    rows, words, seeds = result["rows"], TEXT["zh"]["notes"], len(result["seeds"])
    steps = result["settings"]["training"]["max_steps"]
    notes = [words["seeds"].format(seeds=seeds, steps=steps)]
    if seeds > 1:
        notes.append(words["interval"])
    if result.get("matched"):
        notes.append(words["matched"].format(reference=rows[0]["name"]))
    if spread := result.get("initial_spread"):
        notes.append(words["spread"].format(spread=spread))
    edge = []
    if search := result.get("search"):
        rates = "、".join(f"{rate:g}" for rate in search["rates"])
        notes.append(words["search"].format(rates=rates, share=100 * search["share"]))
        edge = [row for row in rows if at_edge(row)]
    groups = {
        "edge": edge,
        "controls": [row for row in rows if row.get("control")],
        "leaky": [row for row in rows if not row["causal"]],
    }
    for key, group in groups.items():
        if group:
            notes.append(words[key].format(names="、".join(row["name"] for row in group)))
    return notes


def table(rows: list[dict[str, Any]], columns: Columns, language: str) -> str:
    """A Markdown table with headings and words in the given language."""
    words = TEXT[language].get("cells", {})
    titles = [words.get(title, title) for title, _ in columns]
    cells = ([cell(row, key) for _, key in columns] for row in rows)
    return markdown_table(titles, ([words.get(text, text) for text in line] for line in cells))


def _errors(targets: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean absolute error by property, averaged over its two targets."""
    names = ("LogP", "TPSA", "MW")
    errors = {n: [t["mae"] for t in targets if t["property"] == n] for n in names}
    return {name: _single(sum(both) / len(both)) for name, both in errors.items()}


def _single(value: float) -> dict[str, Any]:
    return {"mean": value, "low": None, "high": None}
