"""``ketformer demo`` and the page that it writes."""

import json
import re
from xml.etree import ElementTree

import pytest

from commands import MECHANISMS, files_in, somebody_in
from ketformer.cli import main
from ketformer.reproduction import demo
from ketformer.runs import load_settings
from ketformer.tasks.molecules.output import parse
from report_page import Page, assert_self_contained

MOLECULE_MECHANISMS = ("overlap", "classical")


@pytest.fixture(scope="module")
def small_demo(text, smi):
    """The demo on small data; the embedded text takes minutes to evaluate."""
    fast = {"learning_rate": 5e-2, "warmup_steps": 0}  # so that some of ten molecules are valid
    small = {"demo": {"data": str(text)}, "demo-molecules": {"data": str(smi), **fast}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "load_settings", lambda name: load_settings(name).override(small[name]))
        yield


@pytest.fixture(scope="module")
def out(small_demo, tmp_path_factory):
    """The folder of a demo of four steps."""
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--steps", "4", "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture
def page(out):
    """The report, parsed."""
    return Page((out / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def result(out):
    """The result that the demo saved."""
    return json.loads((out / "demo.json").read_text())


def test_it_trains_audits_and_samples_five_mechanisms(result, out):
    text = result["text"]
    assert {row["name"]: row["causal"] for row in text["rows"]} == {
        "classical": True,
        "qisa": True,
        "qisa_a": True,
        "qsann": True,
        "qisa_published": False,
    }
    for row in text["rows"]:
        assert len(row["sample"]) == 24
        assert (out / "text" / f"{row['name']}-seed42" / "model.safetensors").is_file()
    assert text["settings"]["training"]["max_steps"] == 4
    assert result["manifest"]["machine"]["versions"]["ketformer"]


def test_it_trains_two_mechanisms_on_molecules(result, out):
    rows = result["molecules"]["rows"]
    assert [row["name"] for row in rows] == list(MOLECULE_MECHANISMS)
    for row in rows:
        assert row["causal"] is True
        assert len(row["sample"].split("\n")) == 10
        assert (out / "molecules" / f"{row['name']}-seed42" / "model.safetensors").is_file()
        evaluation = out / "molecules" / f"{row['name']}-seed42" / "evaluation.json"
        assert json.loads(evaluation.read_text())["sampled"] == 500
    assert result["molecules"]["settings"]["task"] == "molecules"


def test_the_page_fetches_nothing(page, out):
    assert_self_contained(page, (out / "report.html").read_text(encoding="utf-8"))


def test_the_tables_have_one_row_for_each_mechanism(page, result):
    text, molecules = result["text"]["rows"], result["molecules"]["rows"]
    body = [row for row in page.table if row[0] != "attention"]  # the second table's heading
    assert [row[0].strip() for row in body] == [*MECHANISMS, *MOLECULE_MECHANISMS]
    for shown, row in zip(body[5:], molecules, strict=True):
        assert shown[1] == f"{row['parameters']:,}"
        assert shown[2] == f"{row['start_entropy']:.3f}"
        assert shown[3] == f"{row['loss']['mean']:.3f}"
        assert shown[6] == f"{row['validity']['mean']:.3f}"
    for shown, row in zip(body[:5], text, strict=True):
        assert shown[1] == f"{row['parameters']:,}"
        assert shown[2] == (f"{row['start_entropy']:.3f}" if row["causal"] else "–")
        assert shown[3] == f"{row['cross_entropy']['mean']:.3f}"
        assert shown[4] == f"{row['prefix_cross_entropy']['mean']:.3f}"
        assert shown[-1] == ("yes" if row["causal"] else "NO")


def test_every_section_is_there_for_both_tasks(page):
    both = ("Results", "Loss while training", "Loss by position", "Attention", "Circuits",
            "Samples", "Time", "How it was made")  # fmt: skip
    assert [text for level, text in page.headings if level == 3] == [*both, *both]
    assert [text for level, text in page.headings if level == 2] == ["Text", "Molecules"]


def test_the_figures_are_whole(out):
    source = (out / "report.html").read_text(encoding="utf-8")
    text, _ = source.split(">Molecules</h2>")
    named = words_of_figures(text)
    assert sum("validation loss (nats)" in words for words in named) == 1
    assert sum("training step" in words for words in named) == 2
    assert sum("prefix alone" in words for words in named) == 1  # the leak of one mechanism
    assert sum("layer 0, head 0" in words for words in named) == len(MECHANISMS)
    assert any(set(MECHANISMS) <= words for words in named)  # the forest, and the times


def test_valid_samples_are_drawn_and_named(page, result):
    for row in result["molecules"]["rows"]:
        for smiles in row["sample"].split("\n"):
            assert (f"Structure of {smiles}" in page.pictures) == (parse(smiles) is not None)


def words_of_figures(source):
    """The texts in each figure of a page."""
    return [
        {word.strip() for word in ElementTree.fromstring(figure).itertext()}
        for figure in re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)
    ]


def test_text_from_the_models_is_escaped(ketformer, small_demo, tmp_path, monkeypatch):
    markup = tmp_path / "markup.txt"
    markup.write_text("<script>alert('&')</script>\n" * 200)
    settings = demo.load_settings("demo").override({"data": str(markup)})
    small = {"demo": settings, "demo-molecules": demo.load_settings("demo-molecules")}
    monkeypatch.setattr(demo, "load_settings", small.get)
    monkeypatch.setattr(demo, "ATTENTIONS", ("classical",))
    monkeypatch.setattr(demo, "MOLECULE_ATTENTIONS", ("classical",))
    assert ketformer("demo", "--steps", 60, "--out", tmp_path / "out").code == 0
    sample = json.loads((tmp_path / "out/demo.json").read_text())["text"]["rows"][0]["sample"]
    assert "<" in sample
    page = Page((tmp_path / "out/report.html").read_text(encoding="utf-8"))
    assert set(page.tags) >= {"table", "pre", "svg"}
    assert_self_contained(page, (tmp_path / "out/report.html").read_text(encoding="utf-8"))


def test_a_folder_that_no_demo_made_is_left_alone(ketformer, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    ketformer("demo", "--steps", 1, "--out", tmp_path).assert_mistake("something other", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_its_own_folder_is_replaced(ketformer, small_demo, out, monkeypatch):
    monkeypatch.setattr(demo, "ATTENTIONS", ("classical", "qisa_published"))
    monkeypatch.setattr(demo, "MOLECULE_ATTENTIONS", ("classical",))
    (out / "left over").write_text("")
    first = (out / "demo.json").read_text()
    done = ketformer("demo", "--steps", 2, "--out", out)
    assert done.code == 0
    assert "qisa_published sees the tokens" in done.out
    assert str(out / "report.html") in done.out
    assert not (out / "left over").exists()
    assert not (out / "text" / "qisa-seed42").exists()
    assert (out / "demo.json").read_text() != first


def test_steps_must_be_positive(ketformer, tmp_path):
    ketformer("demo", "--steps", 0, "--json", "--out", tmp_path / "d").assert_mistake(
        "steps must be positive"
    )


@pytest.mark.slow
def test_on_the_embedded_data_every_mechanism_learns(ketformer, tmp_path):
    done = ketformer("demo", "--steps", 100, "--out", tmp_path / "out", "--json")
    for task in ("text", "molecules"):
        assert done.json[task]["settings"]["data"] == "embedded"
    for row in done.json["text"]["rows"]:
        assert row["cross_entropy"]["mean"] < 3.2  # uniform guessing gives 4.6 nats
    for row in done.json["molecules"]["rows"]:
        assert row["loss"]["mean"] < 2.0  # uniform guessing gives 3.1 nats


def test_a_demo_is_not_replaced_while_it_is_being_made(ketformer, out):
    with somebody_in(out):
        before = files_in(out)
        ketformer("demo", "--out", out).assert_mistake(f"{out}: in use by process")
        assert files_in(out) == before
