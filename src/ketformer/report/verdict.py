"""The verdict at the top of a page: the answer, what each control has of the gain, truncation."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from ketformer.drawing.figure import inline_svg
from ketformer.errors import KetformerError
from ketformer.report.figures import bare_axes, short
from ketformer.report.study import Study, is_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ANSWERS = ("leaks", "no gain", "explained", "not explained")
# How states are cut down: the title of the column, and what it means.
_CUTS = {
    "bond_dimension": (
        "bond dimension",
        "its states keep that many Schmidt coefficients; 1 leaves product states.",
    ),
    "n_qubits": (
        "qubits",
        "the states of a layer are brought onto that many qubits as well as possible.",
    ),
}
_COLOURS = {True: "#2f7de1", False: "#7d8590"}


def verdict_section(study: Study) -> str:
    """The answer and its reasons; empty if the result has no verdict.

    Raises:
        KetformerError: the verdict in the file is broken.
    """
    found = study.result.get("verdict")
    if found is None:
        return ""
    said = _checked(found)
    parts = [f"<p><strong>{html.escape(said['sentence'])}</strong></p>"]
    shares = [share for share in said["attribution"] if share.get("share") is not None]
    if shares:
        drawn = inline_svg(
            lambda: _bars(shares, said["explained_by"]), "Share of the gain by control"
        )
        parts.append(
            f"<figure>{drawn}<figcaption>What each control accounts for of the gain, with 95 % "
            "intervals; blue ones explain it. The dashed line is all of it.</figcaption></figure>"
            f"{_reasons(shares)}"
        )
    if len(curve := said.get("truncation") or []) > 1:
        parts += [_cut(curve, kind, *said) for kind, said in _CUTS.items()]
    if left_out := (said.get("plan") or {}).get("left_out"):
        names = html.escape(", ".join(map(str, left_out)))
        parts.append(f'<p class="small">Not within the budget: {names}.</p>')
    return "".join(parts)


def _reasons(shares: list[dict[str, Any]]) -> str:
    """A table of what each control is and has."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(share["control"])}</th>'
        f'<td class="words">{html.escape(share["reason"])}</td>'
        f"<td>{100 * share['share']:.0f} % ({100 * share['low']:.0f} to {100 * share['high']:.0f})"
        "</td></tr>"
        for share in shares
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="controls"><table><thead><tr>'
        '<th scope="col">control</th><th scope="col" class="words">what it is</th>'
        f'<th scope="col">of the gain</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cut(curve: list[dict[str, Any]], kind: str, title: str, meaning: str) -> str:
    """A table of the losses of states that are cut down in one way."""
    rows = "".join(
        f"<tr><td>{int(point[kind])}</td><td>{point['loss']:.4f}</td></tr>"
        for point in curve
        if kind in point
    )
    if not rows:
        return ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table><thead>'
        f'<tr><th scope="col">{title}</th><th scope="col">loss</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="small">Loss of the trained mechanism '
        f"when {meaning}</p>"
    )


def _checked(found: Any) -> dict[str, Any]:
    """The verdict, with values of the types that the section needs."""
    shares = found.get("attribution") if isinstance(found, dict) else None
    whole = (
        isinstance(shares, list)
        and isinstance(found.get("sentence"), str)
        and found.get("answer") in _ANSWERS
        and isinstance(found.get("explained_by"), list)
        and isinstance(found.get("plan") or {}, dict)
        and all(map(_is_share, shares))
        and isinstance(found.get("truncation") or [], list)
        and all(map(_is_point, found.get("truncation") or []))
    )
    if not whole:
        raise KetformerError("the verdict in this result is broken")
    return dict(found)


def _is_share(share: Any) -> bool:
    if not isinstance(share, dict):
        return False
    words = all(isinstance(share.get(key), str) for key in ("control", "reason"))
    numbers = [share.get(key) for key in ("share", "low", "high")]
    return words and (all(map(is_number, numbers)) or numbers[0] is None)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, dict)
        and is_number(point.get("loss"))
        and any(is_number(point.get(kind)) for kind in _CUTS)
        and all(is_number(point.get(kind, 0)) for kind in _CUTS)
    )


def _bars(shares: list[dict[str, Any]], explaining: list[str]) -> Figure:
    """A bar for each control, with its interval."""
    figure, axes = bare_axes(0.6 + 0.3 * len(shares))
    for place, share in enumerate(shares):
        part, low, high = (100 * share[key] for key in ("share", "low", "high"))
        axes.barh(place, part, height=0.6, color=_COLOURS[share["control"] in explaining])
        axes.plot([low, high], [place, place], color="#b07a12", linewidth=1.6)
    axes.axvline(100, color="#7d8590", linewidth=0.8, linestyle=(0, (4, 3)))
    lowest, highest = min(s["low"] for s in shares), max(s["high"] for s in shares)
    axes.set_xlim(100 * min(-0.2, lowest) - 5, 100 * max(1.2, highest) + 5)
    axes.set_ylim(len(shares) - 0.4, -0.6)
    axes.set_yticks(range(len(shares)), [short(share["control"]) for share in shares])
    axes.set_xlabel("share of the gain (%)")
    return figure
