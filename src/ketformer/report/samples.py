"""Samples: text, drawn molecules, and requested against reached properties."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from ketformer.drawing.figure import named_svg
from ketformer.drawing.molecules import grid_svg
from ketformer.evaluation.conditions import requested_and_reached
from ketformer.report import figures
from ketformer.report.study import Study, is_number
from ketformer.report.table import BADGE, Row
from ketformer.runs import Run
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.properties import PROPERTIES, compute_properties

_SHOWN = {"MW": ".1f", "LogP": ".2f", "TPSA": ".1f"}  # under a drawn molecule
_LONGEST = 2_000  # characters of a text
_MOST = 40  # molecules


def samples_section(study: Study) -> str:
    """A sample of each model's output with nothing requested."""
    parts = []
    for row in study.rows:
        sample = (row.get("sample") or "").strip()
        if not sample:
            continue
        badge = "" if row["causal"] else f" {BADGE}"
        shown = (
            f"<pre>{html.escape(sample[:_LONGEST])}</pre>"
            if study.task == "text"
            else _molecules(sample.splitlines()[:_MOST])
        )
        parts.append(f"<div><h4>{html.escape(row['name'])}{badge}</h4>{shown}</div>")
    if study.task == "text" and parts:
        return f'<div class="figures">{"".join(parts)}</div>'
    return "".join(parts)


def requests_section(study: Study) -> str:
    """Requested against reached properties of each conditional model."""
    styles = figures.styles_of(study.rows)
    parts = []
    for row in study.rows:
        run = study.open(row) if study.task == "molecules" else None
        plots = _scatters(run, styles[row["name"]]) if run else ""
        errors = _target_errors(row)
        if plots or errors:
            parts.append(f"<h4>{html.escape(row['name'])}</h4>{plots}{errors}")
    if not parts:
        return ""
    told = (
        "One property is requested at a time, at its mean and one and two deviations below and "
        "above it; the others are left unknown, or at their mean in a model that needs them all. "
        "On the line, the reached value is the requested one. MAE is the mean absolute error."
    )
    return f"<p>{told}</p>{''.join(parts)}"


def _molecules(smiles: Sequence[str]) -> str:
    """A card for each valid molecule, and a list of the invalid SMILES."""
    properties = compute_properties(smiles, list(_SHOWN), progress=False)
    cards, invalid = [], []
    for text, row in zip(smiles, properties.tolist(), strict=True):
        if parse(text) is None:
            invalid.append(text)
            continue
        said = " · ".join(
            f"{name} {value:{digits}}".replace("-", "−")
            for (name, digits), value in zip(_SHOWN.items(), row, strict=True)
        )
        drawn = named_svg(grid_svg([text]), f"Structure of {text}")
        cards.append(
            f"<li>{drawn}<code>{html.escape(text)}</code><br>"
            f'<span class="small">{html.escape(said)}</span></li>'
        )
    note = f"{len(cards)} of these {len(smiles)} are valid"
    note += f"; the others: {', '.join(invalid)}" if invalid else ""
    return f'<ul class="molecules">{"".join(cards)}</ul><p class="small">{html.escape(note)}</p>'


def _scatters(run: Run, style: figures.Style) -> str:
    """A plot for each condition that can be computed from a molecule."""
    if not set(run.model.config.condition_names or []) & set(PROPERTIES):
        return ""
    plots = []
    for name, pairs in requested_and_reached(run).items():
        if not pairs:
            plots.append(f"<figure><figcaption>{name}: no valid molecules.</figcaption></figure>")
            continue
        requested, reached = np.array(pairs).T
        error = float(np.abs(requested - reached).mean())
        title = f"{name}, MAE {error:.3g}"
        label = f"{title}: requested against reached, {len(pairs)} valid molecules"
        plots.append(f"<figure>{figures.scatter(title, requested, reached, style, label)}</figure>")
    return f'<div class="figures narrow">{"".join(plots)}</div>'


def _target_errors(row: Row) -> str:
    """The errors from the evaluation, which samples many more molecules."""
    kept = [
        entry
        for entry in row.get("target_errors") or []
        if isinstance(entry, dict)
        and isinstance(entry.get("property"), str)
        and is_number(entry.get("target"))
    ]
    if not kept:
        return ""
    lines = "".join(
        f'<tr><th scope="row">{html.escape(entry["property"])}</th>'
        + "".join(
            f"<td>{f'{number:.3g}' if is_number(number) else '–'}</td>"
            for number in map(entry.get, _ERROR_KEYS)
        )
        + "</tr>"
        for entry in kept
    )
    head = "".join(f'<th scope="col">{title}</th>' for title in ("property", *_ERROR_KEYS.values()))
    return (
        "<details><summary>Errors measured in the evaluation</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Errors of requests">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


_ERROR_KEYS = {
    "target": "requested", "mean": "mean reached", "mae": "MAE", "valid": "valid", "sampled": "of",
}  # fmt: skip
