"""The headline table: means and intervals, paired tests, and rows that see the future."""

from __future__ import annotations

import html
from typing import Any

from ketformer.comparison.tables import Columns, cell, paired_rows
from ketformer.report.study import Study, is_number
from ketformer.tasks.metric import METRICS

Row = dict[str, Any]

_LEAK = ' class="leak"'
_WORDS = ' class="words"'
_SURE = 0.05  # p-values below it are marked

#: Next to the name of a row that sees the future.
BADGE = '<span class="badge">not a language model: sees the future</span>'


def results_table(study: Study) -> str:
    """The rows as a table that scrolls in its own box."""
    columns = study.columns
    head = "".join(
        f'<th scope="col"{_WORDS if key == "role" else ""}>{html.escape(title)}</th>'
        for title, key in columns
    )
    body = "".join(_line(row, columns) for row in study.rows)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Results">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def paired_table(study: Study) -> str:
    """Differences to the first row in metrics a leak cannot improve; empty for one seed."""
    if not all(_is_test(test) for row in study.rows for test in (row.get("paired") or {}).values()):
        return ""
    honest = {row["name"] for row in study.rows if row["causal"]}
    rows = paired_rows(study.result)
    if not rows:
        return ""
    titles = list(rows[0])
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr{"" if row["attention"] in honest else _LEAK}><th scope="row">'
        f"{html.escape(row['attention'])}</th>"
        + "".join(f"<td>{html.escape(row.get(title, '–'))}</td>" for title in titles[1:])
        + "</tr>"
        for row in rows
    )
    against = html.escape(study.rows[0]["name"])
    return (
        f"<h4>Against {against}, seed by seed</h4>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Paired differences">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_test(test: Any) -> bool:
    keys = ("difference", "low", "high", "p_value", "p_adjusted")
    return (
        isinstance(test, dict)
        and all(test.get(key) is None or is_number(test[key]) for key in keys)
        and (test.get("low") is None or None not in (test.get("high"), test.get("difference")))
    )


def _line(row: Row, columns: Columns) -> str:
    first, *others = (key for _, key in columns)
    name = html.escape(str(row[first]))
    badge = "" if row["causal"] else f" {BADGE}"
    control = row.get("control")
    said = f"<small>{html.escape(control)}</small>" if control else ""
    cells = "".join(_cell(row, key) for key in others)
    return (
        f'<tr{"" if row["causal"] else _LEAK}><th scope="row">{name}{badge}{said}</th>{cells}</tr>'
    )


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if key == "learning_rate":
        return f"<td>{'–' if value is None else f'{value:g}'}{_searched(row)}</td>"
    text = html.escape(cell({key: None, **row}, key))
    if isinstance(value, str) and key == "role":
        return f"<td{_WORDS}>{text}</td>"
    metric = METRICS.get(key)
    if not row["causal"] and metric is not None and not metric.honest:
        return f'<td class="spoilt">{text}</td>'
    return f"<td>{text}{_paired(row, key)}</td>"


def _paired(row: Row, key: str) -> str:
    """The paired difference to the reference, marked if significant; only for causal rows."""
    test = (row.get("paired") or {}).get(key)
    if not row["causal"] or not isinstance(test, dict) or not is_number(test.get("difference")):
        return ""
    difference, p = float(test["difference"]), test.get("p_adjusted", test.get("p_value"))
    said = f"{difference:+.3f}".replace("-", "−")
    if p is None or not is_number(p):
        return f"<small>{said}</small>"
    less = "p &lt; 0.001" if p < 0.001 else f"p = {p:.3f}"
    said += f", {less.replace(' ', '&nbsp;')}"  # a line may break before p, not within
    if p >= _SURE:
        return f"<small>{said}</small>"
    direction = METRICS[key].better if key in METRICS else None
    better = difference < 0 if direction == "lower" else difference > 0
    word = "" if direction is None else " better" if better else " worse"
    return f'<small class="sure{" better" if word == " better" else ""}">{said}{word}</small>'


def _searched(row: Row) -> str:
    """How many rates were tried, if several; the notes list them."""
    tried = row.get("learning_rates")
    count = len(tried) if isinstance(tried, list) else 0
    return f"<small>best of {count}</small>" if count > 1 else ""
