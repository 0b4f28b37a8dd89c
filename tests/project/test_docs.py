"""The documentation site builds without a warning, and its commands and links work."""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock

from ketformer.attention import ATTENTION
from ketformer.attention.layers import distinct, parse_mechanisms
from ketformer.cli import VERBS
from ketformer.cli.common import Parser, underscored
from ketformer.comparison.variants import mechanisms_of
from ketformer.errors import KetformerError
from ketformer.models import PRESETS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("README*.md"))]
# docs/add-a-mechanism.md adds one, docs/leaderboard.md submits one.
NAMES = {*ATTENTION, "product", "mine"}


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The site's folder and the build output; built once, however many workers there are."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    site, said = folder / "site", folder / "site.txt"
    with FileLock(folder / "site.lock"):
        if not said.is_file():
            dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
            done = subprocess.run(
                [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
                cwd=ROOT,
                env={**os.environ, **dead, "NO_MKDOCS_2_WARNING": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            said.write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    return site, said.read_text()


_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Links(HTMLParser):
    """A page's links, what it loads, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.leads, self.loads, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.leads.append(given["href"])
        if (target := given.get(_LOADS.get(tag))) and given.get("rel") != "canonical":
            self.loads.append(target)


@pytest.fixture(scope="session")
def pages(built):
    """The parsed pages of the site, by path."""
    return {path.resolve(): Links(path) for path in built[0].rglob("*.html")}


def test_the_site_builds_without_a_warning(built):
    code, _, said = built[1].partition("\n")
    assert code == "0", said
    assert not re.search("warning|error|deprecat", said, re.IGNORECASE), said


def test_every_link_and_anchor_leads_somewhere(pages):
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # served for any address, so its links begin at the root
            continue
        for target in [*page.leads, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not found.is_file():
                broken.append((path.name, target))
            elif parts.fragment and found in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[found].anchors and anchor != "__skip":
                    broken.append((path.name, target))
    assert len(pages) > 30
    assert broken == []


def test_nothing_is_loaded_from_the_network(built, pages):
    loaded = [target for page in pages.values() for target in page.loads]
    assert any(target.endswith(".css") for target in loaded)
    assert [target for target in loaded if urlsplit(target).netloc] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in built[0].rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^\s)]*", styles) == []


def test_formulas_are_mathml(built):
    html = (built[0] / "concepts.html").read_text(encoding="utf-8")
    formulas = re.findall(r"<math.*?</math>", html, re.DOTALL)
    assert len(formulas) > 50
    assert any('display="block"' in formula for formula in formulas)
    assert [formula for formula in formulas if "\\" in formula] == []
    outside = re.sub(r"<(math|code|script)\b.*?</\1>", "", html, flags=re.DOTALL)
    assert "arithmatex" not in outside
    assert "$" not in outside


def commands_in(text):
    """The arguments of each `ketformer …` in a page's console blocks, whatever launches it.

    A line that ends with a backslash continues on the next; text after a # is a comment.
    """
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ "):
                words = shlex.split(line[2:], comments=True)
                if "ketformer" in words:
                    yield words[words.index("ketformer") + 1 :]


def parsed(arguments):
    """The verb and options of a command, read by the verb's parser.

    Raises:
        KetformerError: the verb has no such option, or refuses the value.
        AssertionError: there is no such verb.
    """
    verb, *rest = arguments
    assert verb in VERBS, f"ketformer {verb}"
    module = importlib.import_module(f"ketformer.cli.{verb.replace('-', '_')}")
    parser = Parser(verb, VERBS[verb], module.EXAMPLE, getattr(module, "USAGE", None))
    module.add_arguments(parser)
    return verb, parser.parse(underscored(rest))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_commands_of_a_page_exist(path):
    for arguments in commands_in(path.read_text(encoding="utf-8")):
        verb, options = parsed(arguments)
        assert {*distinct(parse_mechanisms(options.get("attention") or "classical"))} <= NAMES
        if verb == "compare":
            assert {n for arm in options.attentions for n in distinct(mechanisms_of(arm))} <= NAMES
        if verb == "train" and options.preset is not None:
            assert options.preset in PRESETS or options.preset.endswith(".yaml"), arguments


def test_a_command_that_does_not_exist_is_seen():
    page = "```console\n$ ketformer train gpt1 \\\n    --atention qisa   # no\n$ make x\n```\n"
    assert list(commands_in(page)) == [["train", "gpt1", "--atention", "qisa"]]
    for wrong in (["train", "--atention", "qisa"], ["audit", "--length", "x"], ["circuit"]):
        with pytest.raises(KetformerError):
            parsed(wrong)
    with pytest.raises(AssertionError):
        parsed(["trian"])


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_python_on_a_page_is_python(path):
    for code in re.findall(r"```python title=\"\w+\.py\"\n(.*?)```", path.read_text(), re.DOTALL):
        compile(code, str(path), "exec")


EXAMPLES = {
    "tutorials/engineer.md": ["build.py", "layer.py"],
    "how-to/own-circuit.md": ["own_circuit.py"],
    "how-to/audit-your-model.md": ["lost_mask.py", "wrong_mask.py", "blocks.py", "spectrum.py"],
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in EXAMPLES.items() for name in names]
)
def test_an_example_prints_what_its_page_says(path, name, capsys):
    page = (ROOT / "docs" / path).read_text()
    (code,) = re.findall(rf"```python title=\"{name}\"\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(rf"```console\n\$ python {name}\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == printed


def test_the_picture_of_the_rooms_is_that_of_the_imports(tmp_path):
    sys.path.insert(0, str(ROOT / "scripts"))
    architecture = importlib.import_module("architecture")
    height = architecture.floors(architecture.rooms())  # raises CycleError for a circle
    assert max(height.values()) <= 12
    architecture.draw(tmp_path / "architecture.svg")
    assert (tmp_path / "architecture.svg").read_text() == architecture.PICTURE.read_text()
