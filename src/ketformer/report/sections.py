"""The sections of a page in order: each turns a study into HTML, or into an empty string."""

from __future__ import annotations

import html
from collections.abc import Callable

import yaml

from ketformer.report import figures
from ketformer.report.attention import attention_section, circuits_section
from ketformer.report.samples import requests_section, samples_section
from ketformer.report.study import LOSSES, Study, is_number
from ketformer.report.table import Row, paired_table, results_table
from ketformer.report.verdict import verdict_section
from ketformer.runs import read_metrics
from ketformer.tasks.metric import metrics_of

_TEXT_NOTE = (
    "Cross entropies in nats per token on the test part. “Prefix only” gives the model only the "
    "tokens before each target, as generation does. A mechanism that is not causal sees the tokens "
    "it should predict: its cross entropy and error rates (struck out) are not those of a language "
    "model; its prefix loss is."
)
_MOLECULES_NOTE = (
    "Losses in nats per token on the test part, padding not counted. Valid is the share of sampled "
    "molecules, unique of valid ones, novel (nowhere in the data) of unique ones."
)
_NOTES = {"text": _TEXT_NOTE, "molecules": _MOLECULES_NOTE}
_MADE = {
    "Loss, cross entropy": "teacher-forced over the whole test part: the mean over its targets "
    "of −log p, in nats.",
    "Prefix only": "each target predicted by a pass over only the tokens before it, for as many "
    "windows or molecules, evenly spread, as two million tokens or 1,024 molecules allow.",
    "CER, WER": "edits between the most likely token at each position and the text, over the "
    "reference length, summed over all windows.",
    "Valid, unique, novel": "of molecules sampled at temperature 1 with nothing requested, judged "
    "by RDKit on canonical SMILES.",
    "±, intervals": "95 % t-intervals of the mean over the seeds.",
    "p": "from a paired t-test over the seeds against the first row, adjusted by Holm's rule for "
    "the number of rows where the notes say so; bold below 0.05.",
    "Causal": "measured on the trained model: yes if no change of later tokens changes an earlier "
    "prediction.",
    "Time": "the median time of one forward pass without decoding; the models take turns on the "
    "same batch.",
    "Attention, circuits, requests": "computed for this page from the first seed's saved model.",
}


def _results(study: Study) -> str:
    styles = figures.styles_of(study.rows)
    forests = [
        f"<figure>{figures.forest(study.rows, metric.name, styles, metric.axis)}</figure>"
        for metric in metrics_of(study.task)
        if metric.axis and any(row[metric.name]["mean"] is not None for row in study.rows)
    ]
    plots = (
        f'<div class="figures">{"".join(forests)}</div><p class="small">{_FOREST}</p>'
        if len(study.rows) > 1
        else ""
    )
    paired = any(row.get("paired") for row in study.rows)
    notes = "".join(f"<p>{html.escape(said)}</p>" for said in study.notes)
    note = _NOTES[study.task] + (" Small figures: difference to the first row." if paired else "")
    return f'{results_table(study)}<p class="small">{note}</p>{notes}{paired_table(study)}{plots}'


_FOREST = (
    "Dots are means, lines 95 % intervals, ticks single seeds; hollow dots and arrows mark rows "
    "that see the future. The dashed line is the first causal row."
)


def _training(study: Study) -> str:
    styles = figures.styles_of(study.rows)
    drawn = "".join(
        f"<figure>{figures.curves(lines, styles, words, f'Curves: {words}')}</figure>"
        for key, words in LOSSES.items()
        if (lines := study.losses(key))
    )
    if not drawn:
        return ""
    told = (
        "One line per seed. Dashed rows see the future, so theirs is not a language model's loss."
    )
    return f'{_legend(study)}<div class="figures">{drawn}</div><p class="small">{told}</p>'


def _positions(study: Study) -> str:
    styles = figures.styles_of(study.rows)
    curves = {row["name"]: found for row in study.rows if (found := study.curves(row))}
    if not curves:  # older evaluations of molecules lack them
        return "" if len(study.missing) == len(study.rows) else f"<p>{_NO_POSITIONS}</p>"
    causal = {row["name"]: row["causal"] for row in study.rows}
    honest = {name: both for name, both in curves.items() if causal[name]}
    drawn = []
    if honest:
        label = "Loss by position of rows that see no future: " + ", ".join(honest)
        drawn.append(
            f"<figure>{figures.positions(honest, styles, label)}<figcaption>Lines: whole windows. "
            "Dots: the prefix alone. They agree where nothing leaks.</figcaption></figure>"
        )
    first = next(iter(honest), None)
    beside = (first, honest[first][0]) if first else None
    for name, (forced, prefix) in curves.items():
        if not causal[name]:
            label = f"The leak of {name}: loss by position, with and without the future"
            plot = figures.leak(name, forced, prefix, beside, styles[name], label)
            drawn.append(
                f"<figure>{plot}<figcaption>Nearly right where it sees the target, lost when "
                "given only what generation gives.</figcaption></figure>"
            )
    return f'{_legend(study)}<div class="figures">{"".join(drawn)}</div>'


_NO_POSITIONS = (
    "These runs were evaluated before losses by position were saved; "
    "<code>ketformer evaluate</code> adds them."
)


def _legend(study: Study) -> str:
    """The rows' names with their line styles."""
    entries = []
    for name, style in figures.styles_of(study.rows).items():
        dashed = ' stroke-dasharray="6 4"' if style["linestyle"] == "--" else ""
        entries.append(
            '<li><svg viewBox="0 0 30 8" aria-hidden="true"><path d="M0 4H30" stroke-width="3" '
            f'stroke="{style["color"]}"{dashed}/></svg>{html.escape(name)}</li>'
        )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _times(study: Study) -> str:
    timed = [row for row in study.rows if (row.get("relative_inference_time") or 0) > 0]
    parts = []
    if timed:
        styles = figures.styles_of(study.rows)
        drawn = figures.bars(timed, styles, "Time of a forward pass of each mechanism, as ratios")
        parts.append(f"<figure>{drawn}</figure>")
    trained = [line for row in study.rows if (line := _training_time(study, row))]
    if trained:
        head = "".join(
            f'<th scope="col">{title}</th>' for title in ("training", "runs", "seconds", "steps/s")
        )
        parts.append(
            '<div><div class="scroll" tabindex="0" role="region" aria-label="Training times">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(trained)}</tbody></table></div>"
            '<p class="small">Means over the runs, as logged; not comparable if runs shared the '
            "machine with other work.</p></div>"
        )
    return f'<div class="figures">{"".join(parts)}</div>' if parts else ""


def _training_time(study: Study, row: Row) -> str:
    found = []
    for run in study.all_runs(row):
        for line in read_metrics(run):
            pair = (line.get("train_runtime"), line.get("train_steps_per_second"))
            if all(map(is_number, pair)):
                found.append(pair)
    if not found:
        return ""
    seconds, rate = (sum(column) / len(found) for column in zip(*found, strict=True))
    return (
        f'<tr><th scope="row">{html.escape(row["name"])}</th><td>{len(found)}</td>'
        f"<td>{seconds:,.1f}</td><td>{rate:.3g}</td></tr>"
    )


def _made(study: Study) -> str:
    result = study.result
    manifest = result.get("manifest")
    manifest = manifest if isinstance(manifest, dict) else {}
    machine = manifest.get("machine")
    machine = machine if isinstance(machine, dict) else {}
    facts = {
        "data": f"{result['settings'].get('data')}, split {result['settings'].get('split')}",
        "seeds": ", ".join(map(str, result.get("seeds") or [])),
        "made": manifest.get("created"),
        "commit": manifest.get("commit"),
        "machine": " · ".join(
            str(machine[key]) for key in ("cpu", "gpu", "platform") if machine.get(key)
        ),
    }
    listed = "".join(
        f"<dt>{name}</dt><dd>{html.escape(str(fact))}</dd>" for name, fact in facts.items() if fact
    )
    meant = "".join(f"<dt>{name}</dt><dd>{words}</dd>" for name, words in _MADE.items())
    keys = ("settings", "seeds", "search", "matched", "manifest", "others")
    shown = {key: result[key] for key in keys if result.get(key) is not None}
    written = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return (
        f"<dl>{listed}</dl><details><summary>How each number was made</summary><dl>{meant}</dl>"
        "</details><details><summary>Settings and manifest</summary>"
        f"<pre>{html.escape(written)}</pre></details>"
    )


#: Each heading with the function that makes its section.
SECTIONS: dict[str, Callable[[Study], str]] = {
    "Verdict": verdict_section,
    "Results": _results,
    "Loss while training": _training,
    "Loss by position": _positions,
    "Attention": attention_section,
    "Circuits": circuits_section,
    "Samples": samples_section,
    "Requested and reached": requests_section,
    "Time": _times,
    "How it was made": _made,
}
