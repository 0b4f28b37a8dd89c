"""Tables for a paper: what other readers of Markdown, LaTeX and CSV find in them."""

import csv
import io
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, strategies as st
from markdown import markdown

from ketformer.comparison.formats import Table, csv_text, formatted, records_of, table_text
from ketformer.errors import KetformerError

RESULTS = Path(__file__).parents[2] / "results"
HOSTILE = r"a_b & 5 % of $x^2$ #1 {~} \section <b>|*[`" + '"±×–'
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.fixture(params=["compare-char-gpt-equal", "reproduce-qisa", "reproduce-overlap"])
def result(request):
    return json.loads((RESULTS / f"{request.param}.json").read_text(encoding="utf-8"))


def balanced(latex):
    """Check that braces, math and environments are closed in order, and nothing is unescaped.

    Returns the rows of the tables as LaTeX.
    """
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert body.isprintable() or set(body) - {"\n"} == {c for c in body if c.isprintable()}
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    known = (
        r"\\(?:begin|end)\{\w+\}|\\(?:centering|toprule|midrule|bottomrule|caption)(?![a-zA-Z])"
        r"|\\text(?:backslash|asciicircum|asciitilde|bar)\{\}|\\ldots\{\}"
        r"|\$(?:\\pm|\\times|\\surd|\\to|\\gets|-|<|>)\$|\\[{}$&#%_]|\\\\"
    )
    left = re.sub(known, "", body)
    assert not set(left) & set('\\$#%^_~<>|"±×−')
    depth = 0
    for c in left:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r" \\")]
    rows = [re.split(r"(?<!\\)&", line) for line in lines]
    return [[cell.strip() for cell in row] for row in rows]


def read_markdown(text):
    """All text of the page, and the cells of its tables; any other element is an error."""
    page = ElementTree.fromstring(f"<page>{markdown(text, extensions=['tables'])}</page>")
    assert {e.tag for e in page.iter()} <= {
        "page",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    tables = [
        [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        for table in page.iter("table")
    ]
    return "".join(page.itertext()), tables


def number(cell):
    return float(cell) if cell else None


# --- Results -------------------------------------------------------------------------------------


def test_latex_of_the_published_tables(result):
    latex = formatted(result, "latex")
    rows = balanced(latex)
    names = [row["name"].replace("_", r"\_") for row in result["rows"]]
    assert [row[0] for row in rows[1:]][: len(names)] == names
    widths = [len(spec) for spec in re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)]
    assert {len(row) for row in rows} == set(widths)
    first = result["rows"][0]
    metric = "loss" if "loss" in first else "prefix_cross_entropy"
    half = first[metric]["high"] - first[metric]["mean"]
    assert rf"{first[metric]['mean']:.3f} $\pm$ {half:.3f}" in rows[1]


def test_the_paired_tests_are_a_second_table():
    result = json.loads((RESULTS / "compare-char-gpt-equal.json").read_text(encoding="utf-8"))
    latex = formatted(result, "latex")
    assert latex.count(r"\begin{table}") == 2
    assert "overlap & $-$0.039 $\\pm$ 0.014 & 0.016 &" in latex
    page, (main, tests) = read_markdown(formatted(result, "markdown"))
    assert [row[0] for row in main] == ["attention", *(row["name"] for row in result["rows"])]
    assert tests[0][:3] == ["attention", "prefix only", "p, prefix only"]
    assert tests[-1][:3] == ["overlap", "-0.039 ± 0.014", "0.016"]
    for note in result["notes"]:
        assert note in page


def test_csv_has_a_plain_number_in_each_cell(result):
    text = formatted(result, "csv")
    assert re.findall(r"(?<!\r)\n", text) == []  # RFC 4180
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [line["name"] for line in lines] == [row["name"] for row in result["rows"]]
    metric = "loss" if "loss" in result["rows"][0] else "prefix_cross_entropy"
    for line, row in zip(lines, result["rows"], strict=True):
        assert line["parameters"] == str(row["parameters"])
        for end in ("mean", "low", "high"):
            assert number(line[f"{metric}_{end}"]) == row[metric][end]
        if test := (row.get("paired") or {}).get(metric):
            assert number(line[f"{metric}_difference"]) == test["difference"]
            assert number(line[f"{metric}_difference_low"]) == test["low"]
            assert number(line[f"{metric}_p"]) == test["p_adjusted"]
    assert "±" not in text
    assert "–" not in text


def test_one_seed_has_no_tests_and_no_bounds():
    metrics = ("cross_entropy", "prefix_cross_entropy", "cer", "wer")
    value = {"mean": 2.0, "low": None, "high": None, "values": [2.0]}
    row = {"name": "a", "parameters": 9, "relative_inference_time": 1.0, "causal": True}
    result = {
        "settings": {"task": "text"}, "seeds": [1], "notes": [],
        "rows": [{**row, **dict.fromkeys(metrics, value), "paired": None}],
    }  # fmt: skip
    (record,) = records_of(result)
    assert (record["cross_entropy_mean"], record["cross_entropy_low"]) == (2.0, None)
    assert not any(key.endswith(("_p", "_difference")) for key in record)
    assert formatted(result, "latex").count(r"\begin{table}") == 1


# --- Characters ----------------------------------------------------------------------------------


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=3), TEXTS)
@example([[HOSTILE, "-0.1 ± 2×"]], HOSTILE)
@example([["[1pt]", "\\"], ["\x00\n", "%"]], "a\n\nb % c")
def test_any_text_is_safe_in_latex(rows, caption):
    found = balanced(table_text(Table(["x", "y"], rows, caption), "latex"))
    assert len(found) == len(rows) + 1
    assert {len(row) for row in found} == {2}
    assert not any(row[0].startswith("[") for row in found)


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=3))
def test_any_text_survives_csv(rows):
    records = [dict(zip("xy", row, strict=True)) for row in rows]
    again = list(csv.DictReader(io.StringIO(csv_text(records), newline="")))
    assert again == [{k: "" if v == "–" else v for k, v in record.items()} for record in records]


def test_markup_is_text_in_markdown():
    table = Table(["x", "y"], [[HOSTILE, "< 0.001"]], "<b>*no*</b> | [a](b)")
    page, (shown,) = read_markdown(table_text(table, "markdown"))
    assert shown == [["x", "y"], [HOSTILE, "< 0.001"]]
    assert "<b>*no*</b> | [a](b)" in page


def test_values_in_csv_are_plain():
    text = csv_text([{"a": True, "b": 0.1 + 0.2, "c": None}, {"a": False, "b": math.nan, "d": "–"}])
    assert text == "a,b,c,d\r\ntrue,0.30000000000000004,,\r\nfalse,,,\r\n"


def test_a_minus_is_no_hyphen():
    latex = table_text(Table(["x"], [["-0.5 (-2, 3)"], ["free-running"], ["1e-05"]]), "latex")
    assert "$-$0.5 ($-$2, 3)" in latex
    assert "free-running" in latex
    assert "1e-05" in latex


def test_an_unknown_format_is_a_mistake():
    with pytest.raises(KetformerError, match="unknown format 'word'; known: markdown, latex, csv"):
        table_text(Table(["x"], [["y"]]), "word")
