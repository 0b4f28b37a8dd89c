"""Plots for a paper: what they show is what the result says."""

import json
import re
from pathlib import Path

import pytest

from ketformer.drawing.plots import Effect, draw_curves, draw_forest
from ketformer.report.plots import effects_of, write_plots
from ketformer.report.study import Study, checked

RESULTS = Path(__file__).parents[2] / "results"


def study_of(name):
    return Study(checked(json.loads((RESULTS / f"{name}.json").read_text()), name), RESULTS, name)


def texts_of(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_differences_are_those_of_the_paired_tests():
    rows = study_of("compare-char-gpt-equal").rows
    ((reference, effects),) = effects_of(rows, "prefix_cross_entropy").items()
    assert reference == "classical"
    names = ["classical:local_start=2", "qisa", "qisa_a", "qsann", "overlap"]
    assert [effect.name for effect in effects] == names
    for effect, row in zip(effects, rows[1:], strict=True):
        test = row["paired"]["prefix_cross_entropy"]
        assert effect.difference == pytest.approx(test["difference"])
        assert (effect.low, effect.high) == pytest.approx((test["low"], test["high"]))
        assert sum(effect.values) / 3 == pytest.approx(effect.difference)


def test_each_part_of_a_result_has_its_own_reference():
    def row(name, *values, first=False):
        return {
            "name": name, "causal": True, "loss": {"values": values},
            "paired": None if first else {},
        }  # fmt: skip

    rows = [row("a", 1, 2, first=True), row("b", 2, 4), row("c", 5, first=True), row("d", 7)]
    found = effects_of(rows, "loss")
    assert {name: [e.difference for e in effects] for name, effects in found.items()} == {
        "a": [1.5], "c": [2]
    }  # fmt: skip
    assert found["c"][0].low is None


def test_a_forest_names_each_row_and_its_numbers(tmp_path):
    effects = [
        Effect("a $x$ <b>", -0.1, -0.15, -0.05, [-0.12, -0.08]),
        Effect("one seed", 0.02, None, None, [0.02]),
        Effect("leaky", 5.0, 4.0, 6.0, [4.8, 5.2], causal=False),
    ]
    draw_forest(effects, "loss (nats), difference to $a", tmp_path / "forest.svg")
    texts = texts_of(tmp_path / "forest.svg")
    assert {"a $x$ &lt;b&gt;", "one seed", "leaky", "→"} <= set(texts)
    assert {"−0.100 ± 0.050", "+0.020", "+5.000 ± 1.000"} <= set(texts)
    assert "loss (nats), difference to $a" in texts
    assert max(float(t.replace("−", "-")) for t in texts if re.fullmatch(r"−?[\d.]+", t)) < 1


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_equal_plots_are_equal_files(tmp_path, kind):
    lines = {"a": [[(0, 2.0), (10, 1.0)], [(0, 2.1), (10, 1.1)]], "_b$": [[(0, 2.2), (10, 1.5)]]}
    styles = {name: {"color": "C0", "linestyle": "-"} for name in lines}
    first, again = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    for path in (first, again):
        draw_curves(lines, styles, "loss (nats)", path)
    assert first.read_bytes() == again.read_bytes()
    if kind == "svg":
        assert {"a", "b$", "training step", "loss (nats)"} <= set(texts_of(first))
        assert texts_of(first).count("a") == 1


def test_a_result_without_its_runs_has_no_curves(tmp_path):
    written = write_plots([study_of("reproduce-overlap")], tmp_path)
    assert [path.name for path in written] == [
        f"forest-{metric}.{kind}"
        for metric in ("prefix_loss", "validity")
        for kind in ("pdf", "svg")
    ]
    assert all(path.stat().st_size > 3000 for path in written)


def test_several_studies_have_names_of_their_own(tmp_path):
    studies = [study_of("reproduce-qisa"), study_of("compare-char-gpt-equal")]
    assert {path.name for path in write_plots(studies, tmp_path)} == {
        f"{study.name}-forest-prefix_cross_entropy.{kind}"
        for study in studies
        for kind in ("pdf", "svg")
    }


def test_nothing_to_plot_is_said(tmp_path):
    study = study_of("compare-char-gpt-equal")
    del study.rows[1:]
    with pytest.warns(UserWarning, match="nothing to plot"):
        assert write_plots([study], tmp_path) == []


def test_report_prints_tables_in_place_of_a_page(ketformer, tmp_path):
    for name in ("compare-char-gpt-equal", "reproduce-qisa"):
        (tmp_path / f"{name}.json").write_text((RESULTS / f"{name}.json").read_text())
    one, two = (tmp_path / f"{name}.json" for name in ("compare-char-gpt-equal", "reproduce-qisa"))
    done = ketformer("report", one, "--format", "csv")
    assert done.out.startswith("name,parameters,")
    assert "3 seeds, 600 steps each." in done.err  # CSV has no place for notes
    both = ketformer("report", one, two, "--format", "latex", "--plots", tmp_path / "plots")
    assert both.out.count(r"\begin{table}") == 3
    assert str(tmp_path / "plots") in both.err
    assert not (tmp_path / "report.html").exists()
    ketformer("report", one, two, "--format", "csv").assert_mistake("holds one table")
    page = ketformer("report", one, "--format", "markdown", "--out", tmp_path / "page.html")
    assert page.out.startswith("| attention |")
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--format", "word"), "--format must be one of markdown, latex, csv or null, got word"),
        (("--format", "csv", "--json"), "choose one"),
        (("--plots", "forest.pdf"), "name a folder"),
        (("--plots", __file__), "name a folder"),
    ],
)
@pytest.mark.parametrize(
    "verb", [("compare", "classical", "qisa"), ("report", "."), ("reproduce", "qisa")]
)
def test_mistakes_are_found_before_any_work(ketformer, verb, options, told):
    ketformer(*verb, *options).assert_mistake(told)
    assert list(Path().iterdir()) == []
