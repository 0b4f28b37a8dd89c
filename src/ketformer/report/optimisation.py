"""The page of an optimisation: its numbers, its curve, and the best molecules."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ketformer.drawing.figure import inline_svg, named_svg
from ketformer.drawing.molecules import grid_svg
from ketformer.drawing.optimisation import optimisation_figure
from ketformer.report.document import write_page

_NUMBERS = {
    "calls": ("molecules scored", "{:,}"),
    "top_1": ("best score", "{:.3f}"),
    "top_10": ("mean of the best 10", "{:.3f}"),
    "top_100": ("mean of the best 100", "{:.3f}"),
    "auc_top_10": ("top-10 AUC", "{:.3f}"),
    "scaffolds": ("scaffolds of good molecules", "{:,}"),
    "valid": ("valid", "{:.1%}"),
    "unique": ("different, of a step", "{:.1%}"),
    "failures": ("failures of the oracle", "{:,}"),
}
_OPTIONS = (
    "budget", "batch", "sigma", "learning_rate", "replay", "memory", "augmentations",
    "bucket_size", "min_score", "range", "seed", "conditions", "device",
)  # fmt: skip


def optimisation_page(result: Mapping[str, Any], path: Path) -> Path:
    """Write the page of an optimisation and return its path.

    Args:
        result: what :func:`ketformer.optimisation.optimise` returned.
        path: path of the HTML file.
    """
    oracle, run = str(result["oracle"]), str(result["run"])
    summary = (
        f"{run} steered by {oracle}, which was asked about {result['calls']:,} molecules of a "
        f"budget of {result['budget']:,}."
    )
    parts = []
    if stopped := result["stopped"]:
        parts.append(f'<p class="note" role="note">Stopped early: {html.escape(stopped)}.</p>')
    numbers = {
        words: form.format(result[key])
        for key, (words, form) in _NUMBERS.items()
        if result.get(key) is not None
    }
    curve = inline_svg(
        lambda: optimisation_figure(result["curve"], result["trace"]),
        "Scores over the molecules that the oracle was asked about",
    )
    parts.append(f"<section><h2>Result</h2>{_list(numbers)}<figure>{curve}</figure></section>")
    if best := [row for row in result["best"] if row["score"] > 0]:
        cards = "".join(map(_card, best))
        parts.append(
            f'<section><h2>The best molecules</h2><ul class="molecules">{cards}</ul></section>'
        )
    if failed := result["failed"]:
        named = {row["smiles"]: row["why"] for row in failed}
        parts.append(f"<section><h2>Where the oracle failed</h2>{_list(named)}</section>")
    options = {name: str(result[name]) for name in _OPTIONS}
    parts.append(f"<section><h2>Options</h2>{_list(options)}</section>")
    write_page(path, f"Ketformer: towards {oracle}", summary, "".join(parts))
    return path


def _list(facts: Mapping[str, str]) -> str:
    rows = (
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(said)}</dd>" for name, said in facts.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _card(row: Mapping[str, Any]) -> str:
    smiles = row["smiles"]
    drawn = named_svg(grid_svg([smiles]), f"Structure of {smiles}")
    said = f"score {row['score']:.3f}"
    if row["value"] != row["score"]:
        said += f" · value {row['value']:.4g}"
    return (
        f"<li>{drawn}<code>{html.escape(smiles)}</code><br>"
        f'<span class="small">{html.escape(said)} · call {row["call"]:,}</span></li>'
    )
