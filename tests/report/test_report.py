"""``ketformer report``: everything on one page, nothing fetched, nothing trusted."""

import json
import re
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.evaluation.conditions import requested_and_reached
from ketformer.report import figures, sources, write_report
from ketformer.report.samples import samples_section
from ketformer.report.study import Study, checked
from ketformer.report.table import paired_table, results_table
from ketformer.runs import open_run
from ketformer.runs.directory import weights_sha256
from ketformer.tasks.molecules.properties import PROPERTIES
from report_page import Page, assert_self_contained

RESULTS = Path(__file__).parents[2] / "results"
TEXT = ["Results", "Loss while training", "Loss by position", "Attention", "Circuits", "Samples",
        "Time", "How it was made"]  # fmt: skip
MOLECULES = [*TEXT[:6], "Requested and reached", *TEXT[6:]]
HOSTILE = "</td></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'&$\\frac$\ud800\x00"


@pytest.fixture(scope="module", autouse=True)
def _few_samples():
    """Runs without an evaluation get 60 molecules, not 10,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "evaluate", partial(sources.evaluate, samples=60))
        yield


@pytest.fixture(scope="module")
def folder(honest, leaky, conditional, tmp_path_factory):
    """Copies of three runs: text without and with a leak, molecules with conditions."""
    folder = tmp_path_factory.mktemp("report")
    for run in (honest, leaky, conditional):
        shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns("evaluation.json"))
    return folder


@pytest.fixture(scope="module")
def text_page(folder):
    """The path of a page about two text runs."""
    from ketformer.cli import main

    out = folder / "text.html"
    assert main(["report", *(str(folder / n) for n in ("honest", "leaky")), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def molecules_page(folder):
    """The path of a page about a conditional run, at its default place."""
    from ketformer.cli import main

    assert main(["report", str(folder / "conditional")]) == 0
    return folder / "conditional" / "report.html"


def read(path):
    source = path.read_text(encoding="utf-8")
    return source, Page(source)


def interval(mean, half=None, values=()):
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "values": list(values)}


def a_row(name="classical", mean=2.0, **changes):
    metrics = ("cross_entropy", "prefix_cross_entropy", "cer", "wer")
    return {
        "name": name, "causal": True, "attention": "classical", "parameters": 1000,
        "sample": "some text", "run": "runs/gone-seed1", "relative_inference_time": 1.0,
        **{metric: interval(mean, 0.1, (mean - 0.1, mean, mean + 0.1)) for metric in metrics},
        **changes,
    }  # fmt: skip


def a_result(*rows, **changes):
    return {"settings": {"task": "text", "data": "d"}, "seeds": [1], "rows": list(rows), **changes}


def table_of(*rows, **changes):
    source = results_table(Study(checked(a_result(*rows, **changes), "here"), Path()))
    return source, Page(source)


# --- What is on the page -------------------------------------------------------------------------


def test_every_section_of_text_is_there_and_nothing_is_fetched(text_page):
    source, page = read(text_page)
    assert_self_contained(page, source)
    assert page.headings[0] == (1, "Ketformer: honest, leaky")
    assert [text for level, text in page.headings if level == 3] == TEXT
    assert [row[0].strip() for row in page.table] == ["honest", "leaky"]
    assert page.table[0][-1] == "yes"
    assert page.table[1][-1] == "NO"


def test_every_section_of_molecules_with_conditions_is_there(molecules_page):
    source, page = read(molecules_page)
    assert_self_contained(page, source)
    assert [text for level, text in page.headings if level == 3] == MOLECULES
    plots = [label for label in page.pictures if "requested against reached" in label]
    assert [label.split(",")[0] for label in plots] == ["LogP", "TPSA"]
    assert any(label.startswith("Structure of ") for label in page.pictures)
    assert any("each atom receives" in label for label in page.pictures)
    assert any(label == "Circuit of score" for label in page.pictures)
    assert any(label.startswith("Loss by position") for label in page.pictures)


@pytest.mark.parametrize("page", ["text_page", "molecules_page"])
def test_the_page_can_be_read_without_seeing_it(page, request):
    _, page = read(request.getfixturevalue(page))
    assert all(page.pictures)
    assert len(page.pictures) > 8
    assert len(set(page.ids)) == len(page.ids)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert levels.count(1) == 1


def test_the_leak_is_seen(text_page):
    source, page = read(text_page)
    assert page.classes == [None, None, "leak"]
    assert any("The leak of leaky" in label for label in page.pictures)
    gap = float(re.search(r"the leak: ([\d.]+) nats", source)[1])
    evaluation = json.loads((text_page.parent / "leaky/evaluation.json").read_text())
    means = evaluation["cross_entropy"], evaluation["prefix_cross_entropy"]
    assert gap == pytest.approx(means[1] - means[0], abs=0.01)
    assert gap > 0.5
    shares = re.findall(r"(\d+)% of all weight lies on later tokens", source)
    assert len(shares) == 1
    assert int(shares[0]) > 30
    assert source.count("no weight lies on later tokens") == 1


def test_a_run_is_evaluated_once(ketformer, text_page, monkeypatch):
    def no(*_, **__):
        raise AssertionError("evaluated again")

    folder = text_page.parent
    assert (folder / "honest/evaluation.json").is_file()
    monkeypatch.setattr(sources, "evaluate", no)
    done = ketformer("report", folder / "honest", "--out", folder / "again.html", "--json")
    assert done.json == {"report": str(folder / "again.html"), "sections": TEXT[:4] + TEXT[5:],
                         "notes": []}  # fmt: skip


def test_a_leak_never_looks_like_a_winner():
    test = {"difference": -1.9, "low": -2.0, "high": -1.8, "p_value": 1e-6}
    paired = {"cross_entropy": test, "prefix_cross_entropy": test}
    source, page = table_of(a_row(), a_row("leaky", 0.1, causal=False, paired=paired))
    assert 'class="sure' not in source
    assert page.classes[-1] == "leak"
    assert "not a language model" in "".join(page.words)
    assert source.count('class="spoilt"') == 3  # cross entropy, CER and WER


@pytest.mark.parametrize(
    ("difference", "p", "words", "sure"),
    [
        (-0.05, 0.001, "−0.050, p\xa0=\xa00.001 better", True),
        (0.05, 0.0001, "+0.050, p\xa0<\xa00.001 worse", True),
        (-0.05, 0.0499, "−0.050, p\xa0=\xa00.050 better", True),
        (-0.05, 0.05, "−0.050, p\xa0=\xa00.050", False),
        (-0.05, None, "−0.050", False),
    ],
)
def test_paired_tests_stand_under_the_means(difference, p, words, sure):
    paired = {"cross_entropy": {"difference": difference, "p_value": p}}
    source, page = table_of(a_row(), a_row("other", paired=paired))
    cell = next(cell for cell in page.rows[2] if cell[0].startswith("2.000") and len(cell) > 1)
    assert cell == ["2.000 ± 0.100", words]
    assert ('class="sure' in source) is sure
    assert (' better"' in source) is (sure and difference < 0)


def test_what_holms_rule_leaves_is_not_marked():
    paired = {"cer": {"difference": -0.1, "low": -0.19, "high": -0.01, "p_value": 0.04,
                      "p_adjusted": 0.08}}  # fmt: skip
    source, page = table_of(a_row(), a_row("other", paired=paired))
    assert 'class="sure' not in source
    assert ["2.000 ± 0.100", "−0.100, p\xa0=\xa00.080"] in page.rows[2]


def test_paired_intervals_have_a_table_of_their_own():
    test = {"difference": -0.1, "low": -0.19, "high": -0.01, "p_value": 0.04, "p_adjusted": 0.08}
    rows = a_row(), a_row("other", paired={"free_running_cer": test}), a_row("leaky", causal=False)
    source = paired_table(Study(checked(a_result(*rows), "here"), Path()))
    assert "Against classical, seed by seed" in source
    assert "-0.100 ± 0.090" in source
    assert "0.080" in source
    assert source.count("<tr") == 2
    broken = a_row("b", paired={"cer": {"difference": 1.0, "low": 0.5, "high": None}})
    assert paired_table(Study(checked(a_result(a_row(), broken), "here"), Path())) == ""


def test_learning_rates_and_controls_are_said():
    tried = [{"learning_rate": rate, "eval_loss": 1.0} for rate in (0.001, 0.003)]
    first = a_row(learning_rate=0.003, learning_rates=tried)
    _, page = table_of(first, a_row("odd", learning_rate=0.001, control="without entanglement"))
    heads = [cell[0] for cell in page.rows[0]]
    assert heads.count("rate") == 1
    place = heads.index("rate")
    assert page.rows[1][place] == ["0.003", "best of 2"]
    _, searched = table_of(first, search={"rates": [0.001, 0.003]}, matched=True)
    assert [cell[0] for cell in searched.rows[0]][:4] == [
        "attention", "parameters", "FFN width", "rate"
    ]  # fmt: skip
    assert page.rows[2][place] == ["0.001"]
    assert page.rows[2][0] == ["odd", "without entanglement"]


def test_requested_values_lie_on_five_points_and_reached_ones_are_rdkits(conditional):
    run = open_run(conditional)
    found = requested_and_reached(run, 30)
    assert list(found) == ["LogP", "TPSA"]
    config = run.model.config
    for i, (name, pairs) in enumerate(found.items()):
        mean, std = config.condition_means[i], config.condition_stds[i]
        asked = sorted({requested for requested, _ in pairs})
        assert asked == pytest.approx([mean + k * std for k in (-2, -1, 0, 1, 2)], rel=1e-4)
        assert 20 < len(pairs) <= 150
        assert len({reached for _, reached in pairs}) > 1, name
    assert found == requested_and_reached(run, 30)
    assert found != requested_and_reached(run, 30, seed=1)
    assert set(found) <= set(PROPERTIES)


# --- Results whose runs are gone -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sections", "names"),
    [
        ("reproduce-qisa", [TEXT[0], *TEXT[2:3], *TEXT[4:]], 9),
        ("reproduce-overlap", [TEXT[0], "Samples", "Requested and reached", *TEXT[6:]], 6),
        ("overlap-qm9-deep", [TEXT[0], *TEXT[4:6], "Requested and reached", *TEXT[6:]], 2),
    ],
)
def test_a_result_file_alone_is_enough(ketformer, tmp_path, name, sections, names):
    out = tmp_path / "page.html"
    done = ketformer("report", RESULTS / f"{name}.json", "--out", out)
    assert done.code == 0
    note, path = done.out.splitlines()
    assert note.startswith("The run directories are missing")
    assert path == str(out)
    source, page = read(out)
    assert_self_contained(page, source)
    assert note in source
    assert [text for level, text in page.headings if level == 3] == sections
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    assert [row[0].strip() for row in page.table] == [row["name"] for row in rows]
    assert len(rows) == names


def test_several_arguments_are_parts_of_one_page(ketformer, text_page, tmp_path):
    folder, out = text_page.parent, tmp_path / "both.html"
    file = shutil.copy(RESULTS / "overlap-qm9-deep.json", tmp_path / "comparison.json")
    done = ketformer("report", folder / "honest", tmp_path, file, "--out", out, "--json")
    assert done.code == 0, done.err
    _, page = read(out)
    parts = [text for level, text in page.headings if level == 2]
    assert parts[-1] == "Text"
    assert len(parts) == 3
    assert len(done.json["notes"]) == 2


# --- Hostile and broken input --------------------------------------------------------------------


def test_hostile_names_and_samples_are_text(tmp_path):
    rows = [
        a_row(HOSTILE, attention=HOSTILE, sample=HOSTILE, role=HOSTILE, control=HOSTILE,
              cross_entropy_by_position=[1.0, None], prefix_cross_entropy_by_position=[2.0, 3.0],
              paired={HOSTILE: HOSTILE}, learning_rate=0.1, learning_rates=[HOSTILE]),
        a_row("b" + HOSTILE * 9, causal=False, relative_inference_time=2.0, inference_ms=3.0,
              cross_entropy_by_position=[0.1, 0.1], prefix_cross_entropy_by_position=[9.0, None]),
    ]  # fmt: skip
    result = a_result(*rows, seeds=[HOSTILE], manifest={HOSTILE: HOSTILE}, reference=HOSTILE)
    result["settings"] |= {"data": HOSTILE, "model": HOSTILE}
    path = write_report(tmp_path / "r.html", HOSTILE, HOSTILE, result)
    source, page = read(path)
    assert_self_contained(page, source)
    assert "<script" not in source
    assert "alert(1)" in "".join(page.words)
    assert not [tag for tag in page.tags if tag in ("img", "script")]


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(st.sampled_from("<>&\"'/$\\ script\n\x00\ud800é中")),
    sample=st.text(st.sampled_from("<>&\"'/ \nscriptC1=O")),
    mean=st.none() | st.floats(-1e9, 1e9),
)
def test_whatever_a_row_holds_the_page_stays_whole(name, sample, mean):
    row = a_row(name, cer=interval(mean), sample=sample, control=name, causal=False)
    source, page = table_of(row)
    assert len(page.table) == 1
    for task in ("text", "molecules"):
        result = a_result(row)
        result["settings"]["task"] = task
        source += samples_section(Study(checked(result, "here"), Path()))
    assert set(Page(source).tags) <= {
        "div", "table", "thead", "tbody", "tr", "th", "td", "span", "small", "h4", "pre", "p",
        "ul", "li", "code", "br", "svg", "g", "path", "rect", "text", "style", "ellipse",
    }  # fmt: skip


@settings(deadline=None, max_examples=12)
@given(
    means=st.lists(st.none() | st.floats(-1e200, 1e200), min_size=1, max_size=4),
    name=st.text(st.sampled_from("<>&$\\_^{}% a"), max_size=40),
)
def test_figures_are_drawn_of_any_numbers_and_names(means, name):
    rows = [a_row(f"{name}{i}", causal=i % 2 == 0, cer=interval(m)) for i, m in enumerate(means)]
    styles = figures.styles_of(rows)
    if any(mean is not None for mean in means):
        page = Page(figures.forest(rows, "cer", styles, name))
        assert f"{name}0"[:20] in "".join(page.words) or means[0] is None
    Page(figures.bars(rows, styles, name))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "Expecting property name"),
        ("[1]", "expected a JSON object"),
        ("{}", "not a result of compare, reproduce or demo"),
        ('{"rows": []}', "not a result of"),
        ('{"settings": {}, "rows": [3]}', "row 0 is not a mapping"),
        ('{"settings": {"task": "poems"}, "rows": [{}]}', "unknown task 'poems'"),
        ('{"settings": {}, "rows": [{"name": 3}]}', "name must be text, got '3'"),
        ('{"settings": {}, "rows": [{"name": "a"}]}', "causal must be true or false"),
        (a_result(a_row(cer=3)), "row 0: cer must be a mean with its interval, got '3'"),
        (a_result(a_row(cer=interval("x"))), "cer must hold numbers"),
        (a_result(a_row(cer=interval(10**400))), "cer must hold numbers"),
        (a_result(a_row(parameters=[1])), "parameters must be a number"),
        (a_result(a_row(run=3)), "run must be text"),
        (a_result(a_row(paired=3)), "paired must be a mapping"),
        (a_result(a_row(), a_row()), "two rows have the same name"),
        (a_result(a_row(), seeds=3), "seeds must be a list"),
    ],
)
def test_broken_results_are_one_line_and_write_nothing(ketformer, tmp_path, content, told):
    file, page = tmp_path / "comparison.json", tmp_path / "report.html"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    page.write_text("an older page")
    for argument in (file, tmp_path):
        ketformer("report", argument, "--json").assert_mistake("comparison.json", told)
    assert page.read_text() == "an older page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "report.html"]


def test_other_mistakes(ketformer, folder, tmp_path):
    ketformer("report", tmp_path / "none").assert_mistake("no file or folder")
    ketformer("report", tmp_path).assert_mistake("neither a run directory nor a folder with")
    ketformer("report").assert_mistake("paths")
    run = shutil.copytree(folder / "honest", tmp_path / "run")
    wrong = tmp_path / "page.pdf"
    ketformer("report", run, "--out", wrong).assert_mistake("--out must be an .html file")
    broken = {"causal": True, "cer": "low", "weights_sha256": weights_sha256(run)}
    (run / "evaluation.json").write_text(json.dumps(broken))
    ketformer("report", run).assert_mistake("evaluation.json: cer must be a number")
    (run / "model.safetensors").write_bytes(b"no")
    ketformer("report", run, "--out", tmp_path / "p.html").assert_mistake("model.safetensors")
    assert not list(tmp_path.rglob("*.html"))


def test_a_broken_run_of_a_comparison_is_a_mistake(ketformer, folder, tmp_path):
    shutil.copytree(folder / "honest", tmp_path / "a-seed1")
    result = a_result(a_row("a", run="runs/a-seed1"))
    (tmp_path / "comparison.json").write_text(json.dumps(result))
    assert ketformer("report", tmp_path).code == 0
    (tmp_path / "a-seed1/config.json").write_text("{")
    page = (tmp_path / "report.html").read_text()
    ketformer("report", tmp_path).assert_mistake("config.json")
    assert (tmp_path / "report.html").read_text() == page


def test_a_result_that_would_break_the_page_is_refused_before_it_is_written(tmp_path):
    with pytest.raises(KetformerError, match="same name"):
        write_report(tmp_path / "r.html", "t", "s", a_result(a_row(), a_row()))
    assert not list(tmp_path.iterdir())
