"""Tables for a paper: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ketformer.comparison.tables import cell, columns_of, paired_rows
from ketformer.errors import KetformerError
from ketformer.tasks.metric import metrics_of
from ketformer.utils.markdown import markdown_table

Format = Literal["markdown", "latex", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": "$<$", ">": "$>$", "|": r"\textbar{}", '"': "\'\'",
    "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "√": r"$\surd$", "→": r"$\to$", "←": r"$\gets$",
    "–": "--", "…": r"\ldots{}", "“": "``", "”": "''",
}  # fmt: skip
# A minus sign, not a hyphen: at the start of a number, also one in brackets.
_MINUS = re.compile(r"(?<![\w.)-])-(?=\.?\d)")


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        titles: headings of the columns.
        rows: the cells of each row, as text.
        caption: what stands below it.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


def formatted(result: Mapping[str, Any], form: str) -> str:
    """A result of ``compare`` or ``reproduce`` as tables for a paper.

    Markdown and LaTeX give the table with the notes as its caption, and the paired tests, if any,
    as a second table. CSV gives :func:`records_of`; it has no place for notes.

    Args:
        result: see :func:`ketformer.comparison.run_variants`.
        form: one of :data:`FORMATS`.

    Raises:
        KetformerError: an unknown format.
    """
    if form == "csv":
        return csv_text(records_of(result))
    return "\n".join(table_text(table, form) for table in _tables_of(result))


def table_text(table: Table, form: str) -> str:
    """The table in Markdown or LaTeX.

    Raises:
        KetformerError: an unknown format.
    """
    if form == "markdown":
        return _markdown(table)
    if form == "latex":
        return _latex(table)
    raise KetformerError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV (RFC 4180) with a header: plain numbers, ``true``, ``false``, or nothing.

    Args:
        records: values by column; the columns are those of all records.
    """
    columns = list(dict.fromkeys(key for record in records for key in record))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_plain(record.get(key)) for key in columns] for record in records)
    return buffer.getvalue()


def records_of(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record for each row of a result.

    A metric gives ``_mean`` and the bounds ``_low`` and ``_high`` of its 95 % interval, and if it
    is tested ``_difference`` to the reference with its own bounds and ``_p``, by Holm's rule.
    """
    rows: Sequence[dict[str, Any]] = result["rows"]
    tested = [
        metric.name
        for metric in metrics_of(result["settings"].get("task", "text"))
        if metric.paired and any(_test(row, metric.name) for row in rows)
    ]
    keys = [key for _, key in result.get("columns") or columns_of(dict(result))]
    records = []
    for row in rows:
        record: dict[str, Any] = {}
        for key in dict.fromkeys((*keys, *tested)):
            if any(isinstance(other.get(key), dict) for other in rows):
                value = row.get(key) or {}
                record |= {f"{key}_{end}": value.get(end) for end in ("mean", "low", "high")}
            else:
                record[key] = row.get(key)
        for key in tested:
            test = _test(row, key)
            record[f"{key}_difference"] = test.get("difference")
            record |= {f"{key}_difference_{end}": test.get(end) for end in ("low", "high")}
            record[f"{key}_p"] = test.get("p_adjusted")
        records.append(record)
    return records


def _test(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The row's paired test in a metric; empty if there is none."""
    test: dict[str, Any] = (row.get("paired") or {}).get(metric) or {}
    return {} if test.get("difference") is None else test


def _tables_of(result: Mapping[str, Any]) -> list[Table]:
    """The table of a result, and that of its paired tests if there are any."""
    plain = dict(result)
    columns = plain.get("columns") or columns_of(plain)
    rows = [[cell({key: None, **row}, key) for _, key in columns] for row in plain["rows"]]
    notes = plain.get("notes") or []
    tables = [Table([title for title, _ in columns], rows, " ".join(notes))]
    if tests := paired_rows(plain):
        titles = list(dict.fromkeys(title for test in tests for title in test))
        reference = plain.get("reference") or plain["rows"][0]["name"]
        tables.append(
            Table(
                titles,
                [[test.get(title, "–") for title in titles] for test in tests],
                f"Differences to {reference}, seed by seed.",
            )
        )
    return tables


def _markdown(table: Table) -> str:
    rows = [[_in_markdown(text) for text in row] for row in table.rows]
    below = f"\n{_in_markdown(table.caption)}\n" if table.caption else ""
    return markdown_table([_in_markdown(title) for title in table.titles], rows) + below


def _in_markdown(text: str) -> str:
    """Text on one line, in which nothing is markup; bars are left to the table."""
    escaped = re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"<(?=[\w/!?])", "&lt;", escaped)


def _latex(table: Table) -> str:
    """The table for LaTeX with the package booktabs."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.titles)
    kinds = ["l" if not i or _has_words(cells) else "r" for i, cells in enumerate(columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        *([f"\\caption{{{in_latex(table.caption)}}}"] if table.caption else []),
        f"\\begin{{tabular}}{{{''.join(kinds)}}}",
        r"\toprule",
        _latex_row(table.titles),
        r"\midrule",
        *map(_latex_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    # The braces keep a cell that begins with "[" from being an option of the \\ before it.
    first, *others = map(in_latex, cells)
    return " & ".join([f"{{{first}}}" if first.startswith("[") else first, *others]) + r" \\"


def in_latex(text: str) -> str:
    """Text on one line, with everything escaped that means something to LaTeX."""
    line = _MINUS.sub("−", " ".join(text.split()))
    return "".join(_LATEX.get(c, c if c.isprintable() else "") for c in line)


def _has_words(cells: Sequence[str]) -> bool:
    return any(re.search(r"[^\W\d_]{4}", text) for text in cells)


def _plain(value: Any) -> Any:
    if value is None or value == "–" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return str(value).lower() if isinstance(value, bool) else value
