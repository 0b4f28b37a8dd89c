"""``ketformer demo`` and the page that it writes."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from ketformer import demo
from ketformer.cli import main

from .helpers import MECHANISMS

_FETCHING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Tags, what they would fetch, and the cells of each row of the table."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.fetched, self.rows = [], [], []
        self.in_cell = False
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for key, value in attrs if key in _FETCHING]
        if tag == "tr":
            self.rows.append([])
        self.in_cell = tag == "td"

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1].append(data)
            self.in_cell = False


@pytest.fixture(scope="module")
def small_demo(text):
    """The demo on the small text; the embedded one takes minutes to evaluate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SETTINGS", demo.SETTINGS.override({"data": str(text)}))
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
    """What the demo kept."""
    return json.loads((out / "demo.json").read_text())


def test_it_trains_audits_and_samples_five_mechanisms(result, out):
    assert {row["name"]: row["causal"] for row in result["rows"]} == {
        "classical": True,
        "qisa": True,
        "qisa_a": True,
        "qsann": True,
        "qisa_published": False,
    }
    for row in result["rows"]:
        assert len(row["sample"]) == 24
        assert (out / f"{row['name']}-seed42" / "model.safetensors").is_file()
    assert result["settings"]["training"]["max_steps"] == 4
    assert result["manifest"]["machine"]["versions"]["ketformer"]


def test_the_page_fetches_nothing(page, out):
    assert all(target.startswith("#") for target in page.fetched)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    source = (out / "report.html").read_text(encoding="utf-8")
    assert "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))


def test_the_table_has_one_row_for_each_mechanism(page, result):
    body = [row for row in page.rows if row]
    assert [row[0] for row in body] == list(MECHANISMS)
    for shown, row in zip(body, result["rows"], strict=True):
        assert shown[1] == f"{row['parameters']:,}"
        assert shown[2] == f"{row['cross_entropy']['mean']:.3f}"
        assert shown[3] == f"{row['prefix_cross_entropy']['mean']:.3f}"
        assert shown[-1] == ("yes" if row["causal"] else "NO")


def test_the_figures_are_whole_and_name_every_mechanism(out):
    source = (out / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)
    assert len(figures) == 2
    for figure in figures:
        words = set(ElementTree.fromstring(figure).itertext())
        assert set(MECHANISMS) <= {word.strip() for word in words}


def test_text_from_the_models_is_escaped(ketformer, tmp_path, monkeypatch):
    markup = tmp_path / "markup.txt"
    markup.write_text("<script>alert('&')</script>\n" * 200)
    monkeypatch.setattr(demo, "SETTINGS", demo.SETTINGS.override({"data": str(markup)}))
    monkeypatch.setattr(demo, "ATTENTIONS", ("classical",))
    assert ketformer("demo", "--steps", 60, "--out", tmp_path / "out").code == 0
    sample = json.loads((tmp_path / "out/demo.json").read_text())["rows"][0]["sample"]
    assert "<" in sample
    page = Page((tmp_path / "out/report.html").read_text(encoding="utf-8"))
    assert set(page.tags) >= {"table", "pre", "svg"}
    assert "script" not in page.tags


def test_a_folder_that_no_demo_made_is_left_alone(ketformer, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    ketformer("demo", "--steps", 1, "--out", tmp_path).assert_mistake("something else", "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_its_own_folder_is_replaced(ketformer, small_demo, out, monkeypatch):
    monkeypatch.setattr(demo, "ATTENTIONS", ("classical", "qisa_published"))
    (out / "left over").write_text("")
    first = (out / "demo.json").read_text()
    done = ketformer("demo", "--steps", 2, "--out", out)
    assert done.code == 0
    assert "qisa_published sees the tokens" in done.out
    assert str(out / "report.html") in done.out
    assert not (out / "left over").exists()
    assert not (out / "qisa-seed42").exists()
    assert (out / "demo.json").read_text() != first


def test_steps_must_be_positive(ketformer, tmp_path):
    ketformer("demo", "--steps", 0, "--json", "--out", tmp_path / "d").assert_mistake("max_steps")


@pytest.mark.slow
def test_on_the_embedded_text_every_mechanism_learns(ketformer, tmp_path):
    done = ketformer("demo", "--steps", 100, "--out", tmp_path / "out", "--json")
    assert done.json["settings"]["data"] == "embedded"
    for row in done.json["rows"]:
        assert row["cross_entropy"]["mean"] < 3.2  # 4.6 nats for each of its symbols alike
