"""The generated blocks of docs/verdict.md: what is left of a lead on equal terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from claims_blocks import compared, notes

from ketformer.comparison import paired
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]
Row = dict[str, Any]

_LOSS = "prefix_cross_entropy"
#: Files of the parameter frontier and of the training on little data, by the words for each.
SIZES = {
    "width 12, 1 block": "frontier-3k",
    "width 24, 1 block": "frontier-10k",
    "width 32, 2 blocks": "frontier-30k",
    "width 64, 2 blocks": "frontier-110k",
    "width 96, 3 blocks": "frontier-350k",
    "width 128, 5 blocks": "frontier-1M",
}
FRACTIONS = {"1 %": "data-0.01", "10 %": "data-0.1", "100 %": "frontier-110k"}
# How the weights begin in each of the three comparisons, and their positions.
_STARTS = {
    "start": ("0.02", "learned"),
    "start-torch": ("torch's own", "learned"),
    "start-rotary": ("0.02", "rotary"),
}


def verdict_start(read: Read) -> str:
    """Every arm of the three comparisons beside classical attention as it usually begins."""
    own = read("start")
    usual = _values(own["rows"][0])
    lines: list[list[str]] = []
    for name, (weights, positions) in _STARTS.items():
        for row in read(name)["rows"]:
            lines.append(
                [
                    f"`{row['name']}`",
                    weights,
                    positions,
                    f"{row['parameters']:,}",
                    _spread(row),
                    _mean(row),
                    _difference(_values(row), usual) if lines else "",
                ]
            )
    titles = ["arm", "weights", "positions", "parameters", "scores at start", "loss", "difference"]
    return f"{markdown_table(titles, lines)}\n{_apart(own)}\n"


def verdict_mechanisms_text(read: Read) -> str:
    """Every mechanism on text, on equal terms."""
    result = read("mechanisms-text")
    return f"{compared(result)}{notes(result)}\n"


def verdict_mechanisms_qm9(read: Read) -> str:
    """Every mechanism on molecules, on equal terms."""
    result = read("mechanisms-qm9")
    return f"{compared(result)}{notes(result)}\n"


def verdict_whole(read: Read) -> str:
    """A preset of text at its own length."""
    result = read("compare-char-small")
    return f"{compared(result)}{notes(result)}\n"


def verdict_equal_time(read: Read) -> str:
    """Circuits of overlap that were trained for equally long."""
    result = read("equal-time")
    published = _values(result["rows"][0])
    lines = [
        [
            f"`{row['name']}`",
            f"{row['parameters']:,}",
            f"{row['step_ms']:.1f}",
            f"{row['steps']:,}",
            _mean(row),
            _difference(_values(row), published) if i else "",
        ]
        for i, row in enumerate(result["rows"])
    ]
    titles = ["circuit", "parameters", "step, ms", "steps", "loss", "difference"]
    return f"{markdown_table(titles, lines)}\n{len(result['seeds'])} seeds.\n"


def verdict_conditions(read: Read) -> str:
    """Models of molecules with properties as conditions, trained for longer."""
    result = read("conditional-qm9")
    return f"{compared(result)}{notes(result)}\n"


def verdict_sizes(read: Read) -> str:
    """The parameter frontier."""
    return _across("size", {label: read(name) for label, name in SIZES.items()})


def verdict_rate(read: Read) -> str:
    """Classical attention with a million parameters, at the rate of QISA."""
    chosen, other = read("frontier-1M")["rows"], read("frontier-1M-rate")["rows"][0]
    usual, qisa = (next(r for r in chosen if r["name"] == name) for name in ("classical", "qisa"))
    assert other["learning_rate"] == qisa["learning_rate"]
    return (
        f"At the rate of `qisa`, {other['learning_rate']:g} in place of "
        f"{usual['learning_rate']:g}, `classical` comes to {_mean(other)}.\n"
    )


def verdict_little_data(read: Read) -> str:
    """Training on a part of the text."""
    return _across("of the training part", {label: read(name) for label, name in FRACTIONS.items()})


def verdict_answer(read: Read) -> str:
    """The verdict on overlap: sentence, shares, truncation."""
    said = read("verdict-overlap")
    shares = [
        [
            f"`{share['control']}`",
            share["reason"],
            f"{share['difference']:+.3f}",
            _percent(share),
        ]
        for share in said["attribution"]
    ]
    parts = [
        f"> {said['sentence']}\n",
        markdown_table(["control", "what it is", "overlap against it", "of the gain"], shares),
    ]
    for kind, title in (("bond_dimension", "bond dimension"), ("n_qubits", "qubits")):
        points = [point for point in said["truncation"] if kind in point]
        titles = [title, *(str(point[kind]) for point in points)]
        parts.append(markdown_table(titles, [["loss", *(f"{p['loss']:.3f}" for p in points)]]))
    plan = said["plan"]
    parts.append(
        f"{plan['seeds']} seeds, {plan['steps']:,} steps each. "
        f"{len(plan['rows'])} rows, each at the best of at least three rates.\n"
    )
    return "\n".join(parts)


def _across(title: str, results: Mapping[str, dict[str, Any]]) -> str:
    """Losses and differences of the same arms in several comparisons, one line for each."""
    names = [row["name"] for row in next(iter(results.values()))["rows"]]
    reference, *others = names
    titles = [title, "parameters", *names, *(f"{name} - {reference}" for name in others)]
    lines = []
    for label, result in results.items():
        first, *rest = result["rows"]
        usual = _values(first)
        lines.append(
            [
                label,
                f"{first['parameters']:,}",
                *(_mean(row) for row in result["rows"]),
                *(_difference(_values(row), usual) for row in rest),
            ]
        )
    return f"{markdown_table(titles, lines)}\n{_apart(next(iter(results.values())))}\n"


def _apart(result: dict[str, Any]) -> str:
    """The notes of a comparison, for a table that draws its rows from several."""
    interval = (
        "± is half of the 95 % interval over the seeds, of differences seed by seed, not adjusted "
        "for the number of rows."
    )
    return " ".join(interval if note.startswith("±") else note for note in result["notes"])


def _values(row: Row) -> list[float]:
    values: list[float] = row[_LOSS]["values"]
    return values


def _mean(row: Row) -> str:
    found = row[_LOSS]
    return f"{found['mean']:.3f} ± {found['high'] - found['mean']:.3f}"


def _difference(values: list[float], reference: list[float]) -> str:
    test = paired(values, reference)
    return f"{test['difference']:+.3f} ± {test['high'] - test['difference']:.3f}"


def _spread(row: Row) -> str:
    spread = row.get("start_spread")
    return "–" if spread is None else f"{spread:.2g}"


def _percent(share: Mapping[str, Any]) -> str:
    if share.get("share") is None:
        return "–"
    return f"{100 * share['share']:.0f} % ({100 * share['low']:.0f} to {100 * share['high']:.0f})"
