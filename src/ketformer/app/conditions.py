"""Properties the page can request from a molecule model, and the model's replies."""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ketformer.app.opened_runs import Subject
from ketformer.drawing.molecules import grid_svg
from ketformer.errors import KetformerError
from ketformer.generation import MoleculeSampling, Sampled, generate_molecules, write_molecules
from ketformer.generation.molecules import captions_of
from ketformer.models.conditions import BeyondTraining
from ketformer.runs import Run
from ketformer.runs.data import molecules_of
from ketformer.tasks.molecules.conditions import as_asked
from ketformer.tasks.molecules.data import Known
from ketformer.tasks.molecules.properties import PROPERTIES

#: The most molecules to draw, and to list in the table; the files have all of them.
DRAWN, LISTED = 24, 200

_DEVIATIONS = 3
_COUNTS = ("HBA", "HBD", "nRot", "nRing", "nHet", "StereoCenters")
_ALWAYS = ("LogP", "TPSA", "MW")  # in the table, requested or not


@dataclass(frozen=True)
class RequestableProperty:
    """A property that can be requested from a model, and its sensible range.

    Attributes:
        name: name of the condition.
        meaning: its meaning with its unit; empty for a column of the user's data.
        mean: mean over the training molecules.
        std: standard deviation over the training molecules.
        low: mean minus three deviations, cut at zero if the property cannot be negative.
        high: mean plus three deviations.
        step: step of the slider.
        needed: whether the model always needs a value.
    """

    name: str
    meaning: str
    mean: float
    std: float
    low: float
    high: float
    step: float
    needed: bool


@dataclass(frozen=True)
class Reply:
    """A model's reply to a request.

    Attributes:
        counts: ``sampled``, ``valid``, ``unique``, ``novel`` and ``not trained on``, each with
            its share and what it is a share of.
        errors: errors by requested property, see
            :func:`~ketformer.tasks.molecules.metrics.property_errors`.
        columns: columns of the table.
        rows: rows of the table, one for each of the first distinct molecules.
        drawings: an ``<svg>``, the SMILES and a caption for each of the first of them.
        files: paths of ``csv``, and of ``sdf`` if there is a valid molecule.
        warnings: warnings, one line each.
    """

    counts: list[tuple[str, int | None, float | None, str]]
    errors: dict[str, Any]
    columns: list[str]
    rows: list[list[Any]]
    drawings: list[tuple[str, str, str]]
    files: dict[str, str]
    warnings: list[str]


def requestable_properties(run: Run) -> list[RequestableProperty]:
    """The properties that can be requested from a molecule model.

    If the model does not hold the statistics of its training molecules, as the released weights
    do not, they are computed from the data it names.
    """
    config = run.model.config
    names = config.condition_names or []
    means, stds = list(config.condition_means or []), list(config.condition_stds or [])
    if names and set(means) == {0.0} and set(stds) == {1.0}:
        means, stds = _statistics(run, names)
    return [
        _requestable(name, mean, std, not config.condition_unknown)
        for name, mean, std in zip(names, means, stds, strict=True)
    ]


def _requestable(name: str, mean: float, std: float, needed: bool) -> RequestableProperty:
    step = 1.0 if name in _COUNTS else 10.0 ** (math.floor(math.log10(std)) - 1) if std else 0.1
    low, high = mean - _DEVIATIONS * std, mean + _DEVIATIONS * std
    if name in PROPERTIES and name != "LogP":
        low = max(low, 0.0)
    low, high = math.ceil(low / step) * step, math.floor(high / step) * step
    places = max(0, -math.floor(math.log10(step)))
    low, high = round(low, places), round(max(high, low + step), places)
    return RequestableProperty(
        name, PROPERTIES.get(name, ""), mean, std, low, high, round(step, places), needed
    )


def _statistics(run: Run, names: list[str]) -> tuple[list[float], list[float]]:
    try:
        settings = run.settings.override({"conditions": as_asked(names)})
        data = molecules_of(settings, run.tokenizer, progress=False)
    except KetformerError:  # not on this machine
        return [0.0] * len(names), [1.0] * len(names)
    values = data.conditions["train"].double().numpy()
    return np.nanmean(values, axis=0).tolist(), np.nanstd(values, axis=0).tolist()


def ask(subject: Subject, num: int, sampling: MoleculeSampling, folder: Path) -> Reply:
    """Sample molecules, judge them, and write their files.

    Args:
        subject: a molecule model.
        num: how many to sample.
        sampling: sampling options and requested properties.
        folder: where to write the files.

    Raises:
        KetformerError: the model does not support the request.
    """
    known, told = subject.known
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sampled = generate_molecules(
            subject.run, num, sampling, known=known, table=folder / "molecules.csv", progress=False
        )
    told = [*told, *(str(w.message) for w in caught if w.category is BeyondTraining)]
    files = write_molecules(sampled, folder / "molecules.csv", progress=False)
    if not sampled.molecules:
        wanted = ", ".join(f"{k} {v:g}" for k, v in sampled.requested.items())
        hint = f"; perhaps no molecule has {wanted}" if wanted else ""
        told = [*told, f"no valid molecule among {num} sampled{hint}"]
    if unseen := [name for name in sampled.requested if name not in PROPERTIES]:
        told = [*told, f"{', '.join(unseen)} cannot be computed from a molecule"]
    columns, rows = _table(sampled, known)
    captions = captions_of(sampled, DRAWN)
    return Reply(
        counts=_counts(sampled.metrics),
        errors=sampled.errors,
        columns=columns,
        rows=rows,
        drawings=[
            (grid_svg([smiles], columns=1), smiles, caption)
            for smiles, caption in zip(sampled.molecules[:DRAWN], captions, strict=True)
        ],
        files={kind: path for kind, path in files.items() if kind in ("csv", "sdf")},
        warnings=told,
    )


def _counts(metrics: Mapping[str, Any]) -> list[tuple[str, int | None, float | None, str]]:
    return [
        ("sampled", metrics["sampled"], None, ""),
        ("valid", metrics["valid"], metrics["validity"], "of the sampled"),
        ("unique", metrics["unique"], metrics["uniqueness"], "of the valid"),
        ("novel", metrics["novel"], metrics["novelty"], "of the unique, not in the data"),
        (
            "not trained on",
            metrics["not_in_training"],
            metrics["novelty_to_training"],
            "of the unique, not in the training part",
        ),
    ]


def _table(sampled: Sampled, known: Known | None) -> tuple[list[str], list[list[Any]]]:
    order = list(PROPERTIES)
    asked = [name for name in sampled.requested if name in PROPERTIES]
    others = [name for name in _ALWAYS if name not in asked]
    columns = ["SMILES", "novel", "in training"]
    for name in asked:
        columns += [f"{name} requested", f"{name} reached"]
    columns += others
    rows = []
    listed = zip(sampled.molecules[:LISTED], sampled.properties[:LISTED], strict=True)
    for smiles, values in listed:
        row: list[Any] = [smiles, *_novelty(smiles, known)]
        for name in asked:
            row += [float(f"{sampled.requested[name]:.4g}"), _short(values[order.index(name)])]
        rows.append(row + [_short(values[order.index(name)]) for name in others])
    return columns, rows


def _novelty(smiles: str, known: Known | None) -> tuple[str, str]:
    """Whether a molecule is novel, and whether it is in the training part."""
    if known is None:
        return "unknown", "unknown"
    trained = smiles in known.training
    return "no" if trained or smiles in known.held_out else "yes", "yes" if trained else "no"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def counts_html(reply: Reply) -> str:
    """The counts, and how far the requested properties were missed, as two small tables."""
    lines = "".join(
        f"<tr><th>{name}</th><td>{'–' if count is None else f'{count:,}'}</td>"
        f"<td>{'' if share is None else f'{share:.1%}'}</td><td class='words'>{of}</td></tr>"
        for name, count, share, of in reply.counts
    )
    out = f"<table class='facts'><tbody>{lines}</tbody></table>"
    if not reply.errors:
        return out
    lines = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{error['target']:.4g}</td>"
        f"<td>{_or_dash(error['mean'])}</td><td>{_or_dash(error['mae'])}</td></tr>"
        for name, error in reply.errors.items()
    )
    return (
        f"{out}<table class='facts'><thead><tr><th></th><th>requested</th><th>mean reached</th>"
        f"<th>mean absolute error</th></tr></thead><tbody>{lines}</tbody></table>"
    )


def drawings_html(reply: Reply) -> str:
    """The drawings side by side, as many as there is room for."""
    figures = "".join(
        f"<figure>{svg}<figcaption><code>{html.escape(smiles)}</code><br>"
        f"{'<br>'.join(map(html.escape, caption.split('  ')))}</figcaption></figure>"
        for svg, smiles, caption in reply.drawings
    )
    drawn = len(reply.drawings)
    said = f"<p>The first {drawn} distinct valid molecules:</p>" if drawn == DRAWN else ""
    return f'{said}<div class="grid">{figures}</div>'


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
