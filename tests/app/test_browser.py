"""The page in a headless browser: every control is used, and results match the library's.

Screenshots are kept in ``build/screenshots``, if that can be written. Needs Chromium:
``apt-get install chromium``.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from rdkit import Chem

from commands import free_port
from drawing.test_heatmap import cells
from ketformer.app.circuits import NOISE, measure, numbers_html
from ketformer.app.conditions import ask, counts_html, requestable_properties
from ketformer.app.texts import text_attention
from ketformer.generation import MoleculeSampling, Sampling, generate_text

expect.set_options(timeout=60_000)  # for a busy machine
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def server(folder, writer, classical, chemist):
    """The address of a page with three runs, served by the command, which must exit cleanly."""
    errors = folder / "server-errors.txt"
    command = [sys.executable, Path(__file__).with_name("slow_command.py"), "app"]
    command += [writer, classical, chemist]
    nobody = f"http://127.0.0.1:{free_port()}"  # as behind a proxy, which must not be contacted
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HTTP_PROXY": nobody,
        "TMPDIR": str(folder),
    }
    with (
        errors.open("w") as err,
        subprocess.Popen(
            [*map(str, command), "--port", str(free_port()), "--json"],
            stdout=subprocess.PIPE, stderr=err, text=True, env=environment,
        ) as process,
    ):  # fmt: skip
        line = process.stdout.readline()
        assert line, errors.read_text()
        facts = json.loads(line)
        assert facts["runs"] == [str(run) for run in (writer, classical, chemist)]
        yield facts["url"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == ""
    assert not re.search("Traceback|Loading", errors.read_text())
    assert not list(folder.glob("ketformer-app-*"))  # no downloads are left


@pytest.fixture
def page(browser, server):
    """The opened page; it must load nothing from elsewhere, and no script may fail."""
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(60_000)
    asked, failed = [], []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(server)
    expect(page.get_by_role("tab", name="Text")).to_be_visible()
    yield page
    page.close()
    hosts = {url.netloc for url in asked if url.scheme not in ("data", "blob")}
    assert hosts == {urlsplit(server).netloc}
    assert failed == []


def tab(page, *names):
    """Open a tab, and one inside it."""
    for name in names:
        page.get_by_role("tab", name=name, exact=True).locator("visible=true").click()


def seen(page, role, name):
    """The control with that name in the open tab."""
    return page.get_by_role(role, name=name).locator("visible=true")


def number_of(page, label):
    """A number field, alone or next to a slider."""
    named = page.get_by_label(re.compile(f"^(number input for )?{label}$"))
    return named.and_(page.locator("input[type=number]")).locator("visible=true")


def type_number(page, label, value):
    """Type a number into its field."""
    number_of(page, label).fill(str(value))
    number_of(page, label).press("Tab")


def choose(page, label, option):
    """Choose an option from a dropdown."""
    page.get_by_label(label, exact=True).locator("visible=true").click()
    page.get_by_role("option", name=option, exact=True).click()


def said(page, words):
    """Expect a message with these words, and close it."""
    toast = page.get_by_test_id("toast-body").filter(has_text=words)
    expect(toast).to_have_count(1)
    # At once: the message closes by itself, and a slow click would find it gone.
    page.get_by_test_id("toast-close").evaluate_all("all => all.forEach(one => one.click())")
    expect(toast).to_have_count(0)


@pytest.fixture
def keep(screenshots):
    """``keep(page, name)`` takes pictures in both widths; nothing may be wider than the page."""

    def take(page, name):
        for size in (PHONE, DESKTOP):
            page.set_viewport_size(size)
            page.wait_for_timeout(150)  # for animations after the resize
            page.screenshot(path=screenshots / f"app-{name}-{size['width']}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") == size["width"]

    return take


def text_of(page):
    """The text written so far."""
    return page.locator(".written textarea").locator("visible=true").input_value()


def drawn(page):
    """The heat map in the open tab."""
    return page.locator("svg[aria-label^='Layer']").locator("visible=true")


def test_text_is_written_as_asked_and_its_attention_drawn(page, keep, opened, writer):
    run = opened(writer).run
    tab(page, "writer")
    expect(
        page.get_by_text("Causal: qsann passed the audit").locator("visible=true")
    ).to_have_count(1)
    seen(page, "textbox", "Prompt").fill("the dog")
    type_number(page, "Length", 60)
    type_number(page, "Temperature", 0.5)
    seen(page, "button", "More options").click()
    type_number(page, "Top-k", 9)
    type_number(page, "Top-p", 0.9)
    type_number(page, "Seed", 7)
    seen(page, "button", "Write").click()
    expect(drawn(page)).to_be_visible()
    sampling = Sampling(max_new_tokens=60, temperature=0.5, top_k=9, top_p=0.9, seed=7)
    expected = generate_text(run, "the dog", sampling=sampling)[0]
    assert text_of(page) == expected
    assert expected != generate_text(run, "the dog", sampling=Sampling(max_new_tokens=60))[0]
    for layer, head in ((1, None), (0, None), (0, 1)):
        if layer == 0:
            choose(page, "Layer", "layer 0")
        if head is not None:
            choose(page, "Head", f"head {head}")
        named = f"Layer {layer}, {'mean over 2 heads' if head is None else f'head {head}'}"
        expect(drawn(page)).to_have_attribute("aria-label", named)
        shown = cells(drawn(page).evaluate("picture => picture.outerHTML"))
        assert shown == cells(text_attention(run, expected, layer, head))
    keep(page, "text")


def test_writing_streams_and_can_be_stopped(page):
    tab(page, "writer")
    type_number(page, "Length", 1000)
    seen(page, "textbox", "Prompt").fill("the ")
    seen(page, "button", "Write").click()
    page.wait_for_function(
        "[...document.querySelectorAll('.written textarea')].some(t => t.value.length > 10)"
    )
    seen(page, "button", "Stop").click()
    expect(drawn(page)).to_be_visible()
    assert 10 < len(text_of(page)) < 1004


def test_a_wrong_prompt_is_a_message(page):
    tab(page, "writer")
    prompt = seen(page, "textbox", "Prompt")
    prompt.fill("")
    seen(page, "button", "Write").click()
    said(page, "the prompt is empty: type something to continue")
    prompt.fill("the <b>")
    seen(page, "button", "Write").click()
    said(page, "character '<' (U+003C) at position 4 is not in the model's alphabet")


def test_molecules_come_as_asked_and_go_home(page, keep, opened, chemist, tmp_path):
    tab(page, "Molecules")
    type_number(page, "Number", 150)
    type_number(page, "Temperature", 0.8)
    type_number(page, "Seed", 3)
    type_number(page, "LogP", 0.7)
    expect(page.get_by_label("Request LogP")).to_be_checked()  # because it was moved
    slider = page.get_by_label("range slider for TPSA")
    before = float(slider.input_value())
    slider.press("ArrowRight")
    expect(page.get_by_label("Request TPSA")).to_be_checked()
    wanted = {"LogP": 0.7, "TPSA": float(slider.input_value())}
    assert wanted["TPSA"] > before
    seen(page, "button", "Generate").click()
    expect(page.locator(".grid figure").first).to_be_visible()
    reply = ask(
        opened(chemist), 150, MoleculeSampling(temperature=0.8, seed=3, conditions=wanted), tmp_path
    )
    facts = page.locator("table.facts")
    shown = [row.split() for table in facts.all() for row in table.inner_text().splitlines()]
    assert shown == [row.split() for row in _rows_of(counts_html(reply))]
    assert page.locator(".grid figure").count() == min(24, len(reply.rows))
    assert page.locator(".grid code").first.inner_text() == reply.rows[0][0]
    headers = [" ".join(text.split()) for text in page.locator(".rows th").all_inner_texts()]
    assert list(dict.fromkeys(filter(None, headers))) == reply.columns
    for kind in ("CSV", "SDF"):
        with page.expect_download() as download:
            seen(page, "button", f"Download {kind}").click()
        assert download.value.suggested_filename == f"molecules.{kind.lower()}"
        with open(download.value.path(), "rb") as got, open(reply.files[kind.lower()], "rb") as own:
            assert got.read() == own.read()
    records = [m for m in Chem.SDMolSupplier(reply.files["sdf"]) if m is not None]
    assert len(records) == reply.counts[2][1] > 5
    with open(reply.files["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 150
    assert {"smiles", "valid", "novel", "LogP", "requested_LogP", "requested_TPSA"} <= set(rows[0])
    keep(page, "molecules")


def _rows_of(tables):
    """The text of simple tables as a browser shows it, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", tables)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


def test_what_no_molecule_has_is_said(page, opened, chemist, tmp_path):
    tab(page, "Molecules")
    top = requestable_properties(opened(chemist).run)[1].high
    wild = {"temperature": 2.0, "conditions": {"TPSA": top}}
    seed = next(
        seed
        for seed in range(50)
        if not ask(opened(chemist), 1, MoleculeSampling(seed=seed, **wild), tmp_path).rows
    )
    type_number(page, "TPSA", 10 * top)  # beyond the end of the slider
    expect(number_of(page, "TPSA")).to_have_value(f"{top:g}")
    type_number(page, "Number", 1)
    type_number(page, "Temperature", 2)
    type_number(page, "Seed", seed)
    seen(page, "button", "Generate").click()
    said(page, f"no valid molecule among 1 sampled; perhaps no molecule has TPSA {top:g}")
    expect(seen(page, "button", "Download SDF")).to_be_disabled()


@pytest.mark.slow
def test_circuits_run_with_shots_and_noise_beside_the_exact_attention(page, keep, opened, writer):
    subject = opened(writer)
    tab(page, "Circuits", "writer")
    seen(page, "textbox", "Text").fill("the cat")
    noise = list(NOISE)[2]
    choose(page, "Shots", "100")
    choose(page, "Noise", noise)
    choose(page, "Layer", "layer 0")
    choose(page, "Head", "head 1")
    type_number(page, "Seed", 4)
    seen(page, "button", "Run the circuits").click()
    expect(page.locator(".three svg")).to_have_count(3)
    options = {"shots": 100, "noise": NOISE[noise], "seed": 4}
    found = measure(subject.run, "the cat", backend="torch", **options)
    numbers = page.locator("table.facts").locator("visible=true")
    expected = _rows_of(numbers_html(found, 0, 1, causal=True))
    assert [" ".join(row.split()) for row in numbers.inner_text().splitlines()] == expected
    measured = cells(page.locator(".three svg").nth(1).evaluate("picture => picture.outerHTML"))
    assert measured[3, 1] == pytest.approx(found.measured[0, 1, 3, 1], abs=6e-5)
    keep(page, "circuits")
    choose(page, "Layer", "layer 1")
    choose(page, "Head", "mean")
    expected = _rows_of(numbers_html(found, 1, None, causal=True))
    expect(numbers).to_contain_text(expected[1].split()[-1])
    choose(page, "Noise", "none")
    choose(page, "Shots", "exact expectations")
    choose(page, "Backend", "pennylane")
    seen(page, "button", "Run the circuits").click()
    expect(numbers).to_contain_text(re.compile(r"this picture\s*(0|\d(\.\d)?e-0[5-9])"))


def test_what_has_no_circuits_or_too_many_is_said(page):
    tab(page, "Circuits", "classical")
    words = page.get_by_text("classical attention is classical").locator("visible=true")
    expect(words).to_have_count(1)
    tab(page, "chemist")
    page.get_by_label("Molecule (SMILES)").fill("CCCCCCCCCCCC")
    seen(page, "button", "Run the circuits").click()
    said(page, "13 tokens")


def test_another_run_is_opened_and_a_broken_one_told(page, keep, folder, leaky):
    page.get_by_role("button", name="Open another run").click()
    path = page.get_by_label("Run directory")
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    for given, words in (("", "no run directory is given"), (broken, "no model.safetensors")):
        path.fill(str(given))
        page.get_by_role("button", name="Open", exact=True).click()
        said(page, words)
    path.fill(str(leaky))
    path.press("Enter")
    said(page, "is open")
    tab(page, "leaky")
    warning = page.get_by_text("Leaky: qisa_published sees the tokens").locator("visible=true")
    expect(warning).to_have_count(1)
    keep(page, "leaky")
