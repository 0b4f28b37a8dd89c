"""A self-contained HTML page of a comparison: table, curves, the leak, samples."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import matplotlib

from ketformer import runs
from ketformer.tables import Columns, cell, columns_of
from ketformer.tasks.molecules.chemistry import parse
from ketformer.tasks.molecules.pictures import grid_svg

_CSS = """
:root { color-scheme: light dark; --line: #8885; --leak: #c0392b; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2, h3 { margin-top: 2.5rem; } h2.part { border-bottom: 1px solid; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th { white-space: nowrap; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tr.leak td { color: var(--leak); }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; }
figcaption, .small { font-size: .9rem; opacity: .8; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line);
      border-radius: 6px; padding: .8rem; font-size: .85rem; }
@media (prefers-color-scheme: dark) { :root { --leak: #ff8a75; } }
@media print { body { max-width: none; } section { break-inside: avoid; } }
"""


def write_report(path: Path, title: str, summary: str, *results: dict[str, Any]) -> Path:
    """Write the page and return its path.

    Args:
        path: of the HTML file.
        title: of the page.
        summary: a sentence under the title.
        results: what :func:`ketformer.comparison.run_variants` returned, with a manifest; of
            text, of molecules, or one of each.
    """
    parts = [_MOLECULES if _is_molecules(result) else _TEXT for result in results]
    sections = "".join(
        f"<h2 class=part>{part['name']}</h2>{_sections(result, part)}" if len(results) > 1
        else _sections(result, part)
        for part, result in zip(parts, results, strict=True)
    )  # fmt: skip
    made = "".join(f"<pre>{html.escape(_provenance(result))}</pre>" for result in results)
    body = f"""
<h1>{html.escape(title)}</h1>
<p>{html.escape(summary)}</p>
{sections}
<section><h3>How it was made</h3>{made}</section>
"""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head><body>{body}</body></html>\n"
    )
    runs.write_text(path, page)
    return path


_TEXT = {
    "name": "Text",
    "note": "Cross entropies in nats per token on the test part. “Prefix only” hands the model the "
    "tokens before each target and nothing else. A mechanism that is not causal sees the tokens it "
    "is to predict: its cross entropy and error rates are no language model's, its prefix loss is.",
}
_MOLECULES = {
    "name": "Molecules",
    "note": "Loss in nats per token on the test part, padding not counted. Valid is a share of the "
    "sampled, unique of the valid, novel of the unique (not in the training part).",
}


def _is_molecules(result: dict[str, Any]) -> bool:
    return bool(result["settings"]["task"] == "molecules")


def _sections(result: dict[str, Any], part: dict[str, str]) -> str:
    rows = result["rows"]
    positions = "" if _is_molecules(result) else (
        f"<section><h3>Where in the window the loss is made</h3>{_positions(rows)}</section>"
    )  # fmt: skip
    return f"""
<section><h3>Results</h3>
<div class="scroll">{_table(rows, columns_of(result))}</div>
<p class="small">{part["note"]}</p>
</section>
<section><h3>Loss while training</h3>{_curves(rows)}</section>
{positions}
<section><h3>Samples</h3>{_samples(result)}</section>
"""


def _samples(result: dict[str, Any]) -> str:
    """Text as it is, molecules as drawings with what was sampled under them."""
    shown = []
    for row in result["rows"]:
        name, sample = html.escape(row["name"]), row["sample"].strip()
        if _is_molecules(result):
            drawn = _drawn(sample.splitlines())
            shown.append(f"<h4>{name}</h4><figure>{drawn}</figure>")
        else:
            shown.append(f"<h4>{name}</h4><pre>{html.escape(sample)}</pre>")
    return "".join(shown)


def _drawn(smiles: list[str]) -> str:
    valid = [text for text in smiles if parse(text) is not None]
    invalid = [text for text in smiles if text not in valid]
    note = f"not valid: {', '.join(invalid)}" if invalid else "all of these samples are valid"
    caption = f"<figcaption>{html.escape(note)}</figcaption>"
    return (grid_svg(valid, valid) if valid else "") + caption


def _table(rows: list[dict[str, Any]], columns: Columns) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title, _ in columns)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{html.escape(cell(row, key))}</td>" for _, key in columns)
        lines.append(f"<tr{'' if row['causal'] else ' class=leak'}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _curves(rows: list[dict[str, Any]]) -> str:
    def draw(axes: Any) -> None:
        for row in rows:
            logged = runs.read_metrics(Path(row["run"]))
            points = [(r["step"], r["eval_loss"]) for r in logged if "eval_loss" in r]
            if points:
                axes.plot(*zip(*points, strict=True), **_style(row), label=row["name"])
        axes.set_xlabel("training step")
        axes.set_ylabel("validation cross entropy (nats)")

    return _figure(draw, "Teacher-forced validation loss; dashed lines see the future.")


def _positions(rows: list[dict[str, Any]]) -> str:
    def draw(axes: Any) -> None:
        for row in rows:
            style = _style(row)
            forced, prefix = (
                row["cross_entropy_by_position"],
                row["prefix_cross_entropy_by_position"],
            )
            (line,) = axes.plot(range(1, len(forced) + 1), forced, **style, label=row["name"])
            if not row["causal"]:
                axes.plot(
                    range(1, len(prefix) + 1),
                    prefix,
                    color=line.get_color(),
                    linestyle=":",
                    label=f"{row['name']}, prefix only",
                )
        axes.set_xlabel("position in the window")
        axes.set_ylabel("cross entropy (nats)")

    return _figure(
        draw,
        "A causal model gains from context, position by position. One that sees the future is "
        "nearly right everywhere but at the last position, whose target it cannot see, and lost "
        "when it is given the prefix alone.",
    )


def _style(row: dict[str, Any]) -> dict[str, Any]:
    return {"linestyle": "-" if row["causal"] else "--", "linewidth": 1.6}


def _figure(draw: Any, caption: str) -> str:
    """An inline SVG in a grey that reads on light and on dark paper."""
    from matplotlib.figure import Figure

    grey = "#808080"
    with matplotlib.rc_context(
        {
            "text.color": grey,
            "axes.labelcolor": grey,
            "axes.edgecolor": grey,
            "xtick.color": grey,
            "ytick.color": grey,
            "svg.fonttype": "none",
            "svg.hashsalt": "ketformer",
        }
    ):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _provenance(result: dict[str, Any]) -> str:
    import yaml

    shown = {
        "settings": result["settings"],
        "seeds": result["seeds"],
        "manifest": result["manifest"],
    }
    return yaml.safe_dump(shown, sort_keys=False)
