"""The page in a real browser: on a phone and a desktop, light and dark, and on paper."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ketformer.report import report_of, sources, write_report

RESULTS = Path(__file__).parents[2] / "results"
A4 = 595, 842  # points
PHONE, DESKTOP = {"width": 375, "height": 800}, {"width": 1280, "height": 800}
# The contrast of each text with its background, by WCAG's formula.
CONTRASTS = """() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = s => { const [r, g, b] = s.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const paper = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(c)) return light(c); } return 1; };
  const found = {};
  const texts = "h1, h2, h3, h4, p, th, td, a, small, summary, .badge, figcaption";
  for (const e of document.querySelectorAll(texts)) {
    const both = [light(getComputedStyle(e).color), paper(e)];
    const name = e.tagName + "." + e.className;
    const ratio = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    found[name] = Math.min(found[name] ?? 99, ratio); }
  return found; }"""


@pytest.fixture(scope="module")
def pages(honest, leaky, conditional, tmp_path_factory):
    """A page on text and molecules, and one with the longest names in its table."""
    folder = tmp_path_factory.mktemp("browser")
    for run in (honest, leaky, conditional):
        shutil.copytree(run, folder / run.name)
    with pytest.MonkeyPatch.context() as patch:
        evaluate = sources.evaluate
        patch.setattr(sources, "evaluate", lambda run, **o: evaluate(run, **{**o, "samples": 40}))
        runs = report_of([folder / r.name for r in (honest, leaky, conditional)], progress=False)
    table = report_of([RESULTS / "reproduce-qisa.json"], folder / "table.html", progress=False)
    return {"runs": runs.path, "table": table.path}


@pytest.mark.parametrize("name", ["runs", "table"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_is_quiet(browser, pages, screenshots, name, scheme):
    page = browser.new_page(viewport=PHONE, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri(), wait_until="networkidle")
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        outside = page.evaluate(
            """[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg")
            && e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []
    low = {name: ratio for name, ratio in page.evaluate(CONTRASTS).items() if ratio < 4.5}
    assert low.keys() <= {"TD.spoilt"}  # struck out, and announced as such
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", dark)[:3])) < 60) is (scheme == "dark")
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        picture = f"report-{name}-{size['width']}-{scheme}.png"
        page.screenshot(path=screenshots / picture, full_page=True)
    assert said == []
    assert [url for url in asked if not url.startswith("data:image/png;")] == [pages[name].as_uri()]
    page.close()


def test_the_contents_lead_to_their_sections(browser, pages):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(pages["runs"].as_uri())
    page.click("nav >> text=Circuits")
    assert page.url.endswith("-circuits")
    section = page.locator("#" + page.url.partition("#")[2])
    expect(section).to_be_in_viewport()
    page.close()


def test_it_prints_on_a4_with_everything_open(browser, pages, screenshots, tmp_path):
    page = browser.new_page(viewport={"width": 688, "height": 1000}, color_scheme="dark")
    page.goto(pages["table"].as_uri())
    printed = page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    shutil.copy(tmp_path / "page.pdf", screenshots / "report-table.pdf")
    boxes = set(re.findall(rb"/MediaBox ?\[([^]]*)\]", printed))
    assert {tuple(round(float(n)) for n in box.split()[2:]) for box in boxes} == {A4}
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    # The 182 mm between the margins are 688 pixels: nothing is wider, nothing scrolls.
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(t => t.getBoundingClientRect().right <= 689)"
    )
    hidden = page.evaluate(
        """[...document.querySelectorAll("details > *")].filter(
        e => e.getBoundingClientRect().height === 0).length"""
    )
    assert hidden == 0
    page.close()


def test_hostile_text_does_nothing(browser, tmp_path):
    """Besides the escaping: even markup that slipped through would be refused."""
    hostile = '<script>document.title="no"</script><img src="http://127.0.0.1:9/x">'
    row = {"name": hostile, "causal": True, "sample": hostile, "control": hostile}
    result = {"settings": {"task": "text"}, "rows": [row]}
    path = write_report(tmp_path / "r.html", "fine", hostile, result)
    source = path.read_text(encoding="utf-8")
    slipped = path.with_name("slipped.html")
    slipped.write_text(source.replace("<main>", f"<main>{hostile}"), encoding="utf-8")
    for file in (path, slipped):
        page = browser.new_page()
        said = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.goto(file.as_uri(), wait_until="networkidle")
        assert page.title() == "fine"
        refused = [words for words in said if "Content Security Policy" in words]
        assert len(refused) == len(said) == (2 if file == slipped else 0)  # script and image
        page.close()
