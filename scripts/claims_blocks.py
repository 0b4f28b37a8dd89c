"""The generated blocks of docs/claims.md, from the reproductions and the comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from readme_blocks import table

from ketformer.comparison.tables import paired_rows
from ketformer.reproduction.claims import CLAIMS
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

_METRICS = {
    "cross_entropy": "cross entropy, times lower",
    "cer": "character error rate, times lower",
    "wer": "word error rate, times lower",
}
_ROWS = {
    "qisa_published": "QISA as published",
    "classical_transposed": "classical attention with the same leak",
    "qisa_causal": "QISA, leak mended",
    "qisa": "QISA, our defaults",
}


def claims_papers(_: Read) -> str:
    """Every claim, and what became of it."""
    rows = [
        [
            ", ".join(f"`{name}`" for name in claim.mechanisms),
            ", ".join(map(linked, claim.source.split(", "))) if claim.source else "none",
            claim.said,
            claim.outcome,
        ]
        for claim in CLAIMS.values()
    ]
    return markdown_table(["mechanism", "source", "claim", "here"], rows)


def linked(source: str) -> str:
    """An arXiv number or a DOI as a link."""
    if source.startswith("10."):
        return f"[doi:{source}](https://doi.org/{source})"
    return f"[arXiv {source}](https://arxiv.org/abs/{source})"


def claims_factors(read: Read) -> str:
    """The claim, and what each row reaches against honest classical attention."""
    result = read("reproduce-qisa")
    rows = {row["name"]: row for row in result["rows"]}
    lines = [["", "claimed", *_ROWS.values()]]
    for metric, words in _METRICS.items():
        factors = [f"{rows[name]['ratio_to_classical'][metric]:.2f}×" for name in _ROWS]
        lines.append([words, f"{result['claim'][metric]:.1f}×", *factors])
    times = [f"{rows[name]['relative_inference_time']:.2f}×" for name in _ROWS]
    claimed = f"{result['claim']['relative_inference_time']:.1f}×"
    lines.append(["inference time, times longer", claimed, *times])
    return markdown_table(lines[0], lines[1:])


def claims_positions(read: Read) -> str:
    """The loss at the only position that cannot see its target, and at the others."""
    rows = {row["name"]: row for row in read("reproduce-qisa")["rows"]}
    curves = [rows[name]["cross_entropy_by_position"] for name in ("qisa_published", "classical")]
    others = [sum(curve[:-1]) / (len(curve) - 1) for curve in curves]
    return (
        f"With the leak, `qisa_published` has a loss of {others[0]:.2f} nats on average over the "
        f"first {len(curves[0]) - 1} positions, and of {curves[0][-1]:.2f} at the last, which has "
        f"no later position to look at. Honest classical attention has {others[1]:.2f} and "
        f"{curves[1][-1]:.2f} there.\n"
    )


def claims_intervals(read: Read) -> str:
    """Which honest rows differ from classical attention by their intervals."""
    honest = [row for row in read("reproduce-qisa")["rows"] if row["causal"]]
    rows = {row["name"]: row["prefix_cross_entropy"] for row in honest}
    own = rows.pop("classical")
    apart = [name for name, r in rows.items() if r["low"] > own["high"] or r["high"] < own["low"]]
    alike = [name for name in rows if name not in apart]
    said = f"The intervals of {_listed(alike)} overlap that of `classical`"
    return f"{said}; no overlap for {_listed(apart)}.\n" if apart else f"{said}.\n"


def claims_tensorized(read: Read) -> str:
    """The leak of the Tensorized Transformer on random tokens."""
    result = read("reproduce-tensorized")
    return f"{table(result['rows'], result['columns'], 'en')}\n{result['notes'][0]}\n"


def claims_gradients(read: Read) -> str:
    """How far SPSA's estimate is from the gradient."""
    rows = read("circuit-gradients-overlap")["rows"]
    exact = {(r["gradient"], r["backend"]): r for r in rows}
    spsa, shifted = exact["spsa", "torch"], exact["parameter_shift", "shots"]
    return (
        "For the loss of the released weights, SPSA's estimate has a cosine of "
        f"{spsa['cosine']:.2f} with "
        f"the exact gradient and {spsa['norm_ratio']:.1f} times its norm; parameter shift with "
        f"{shifted['shots']:,} shots per circuit has a cosine of {shifted['cosine']:.2f}.\n"
    )


def claims_noise(read: Read) -> str:
    """What shots do to the released weights' loss."""
    study = read("circuit-noise-overlap")
    exact = study["shots"][0]["exact_loss"]
    shown = "; ".join(
        f"{row['shots']:,} shots: {row['loss']:.3f}"
        for row in study["shots"]
        if row["shots"] in (10, 100, 1_000, 10_000)
    )
    where = f"Loss of the released weights on {study['sequences']} sequences"
    return f"{where}, exact: {exact:.3f}; {shown}.\n"


def claims_char_gpt(read: Read) -> str:
    """A larger model, every mechanism at its best rate."""
    result = read("compare-char-gpt-equal")
    data = result["settings"]["data"]
    return f"{compared(result)}The preset `char-gpt` on {data}. {notes(result)}\n"


def claims_char_gpt_controls(read: Read) -> str:
    """The same for overlap, with its controls."""
    result = read("compare-char-gpt-controls")
    return f"{compared(result)}{notes(result)}\n"


def claims_char_gpt_start(read: Read) -> str:
    """Classical and overlap, each with its own start and with about that of the other."""
    result = read("compare-char-gpt-start")
    return f"{compared(result)}{notes(result)}\n"


def compared(result: dict[str, Any]) -> str:
    """The table of a comparison, and its paired tests."""
    tests = paired_rows(result)
    rows = [list(tests[0]), *(list(test.values()) for test in tests)]
    return (
        f"{table(result['rows'], result['columns'], 'en')}\n"
        f"Differences from `{result['reference']}`, seed by seed:\n\n"
        f"{markdown_table(rows[0], rows[1:])}\n"
    )


def notes(result: dict[str, Any]) -> str:
    """The notes for the reader, as one paragraph."""
    return " ".join(result["notes"])


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
