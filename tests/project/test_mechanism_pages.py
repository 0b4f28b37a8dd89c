"""The page of each mechanism in docs/mechanisms/."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from ketformer.attention import ATTENTION
from ketformer.circuits import circuits_of
from ketformer.comparison.variants import matched, rows_of
from ketformer.runs import load_settings

from .test_docs import commands_in, parsed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
BLOCKS = importlib.import_module("mechanism_blocks")
PAGES = {first: ROOT / f"docs/mechanisms/{first}.md" for first in BLOCKS.PAGES}
#: Treated in docs/concepts.md and docs/claims.md.
ELSEWHERE = {"qsann", "qisa", "qisa_a", "qisa_published", "qisa_a_published", "overlap"}


def test_every_mechanism_from_outside_has_a_page():
    own = {name for name in ATTENTION if not name.startswith("classical")} - ELSEWHERE
    told = [name for page in BLOCKS.PAGES.values() for name in page.names]
    assert sorted(told) == sorted(own)
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for first, path in PAGES.items():
        title = path.read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith("# ")
        assert all(f"`{name}`" in title for name in BLOCKS.PAGES[first].names)
        assert f"mechanisms/{first}.md" in menu
    assert {path.name for path in PAGES["vqc"].parent.glob("*.md")} == {
        "index.md",
        *(path.name for path in PAGES.values()),
    }


@pytest.mark.filterwarnings("ignore::ketformer.attention.leaks.LeakWarning")
@pytest.mark.parametrize("first", PAGES)
def test_the_comparison_on_a_page_can_be_made_and_has_the_twin(first):
    commands = list(commands_in(PAGES[first].read_text(encoding="utf-8")))
    ((_, options),) = [parsed(command) for command in commands if command[0] == "compare"]
    arms, chosen = options.attentions, (options.controls or "").split(",")
    assert arms[0] == "classical"
    assert {*BLOCKS.PAGES[first].twins, *BLOCKS.PAGES[first].twins.values()} <= {*arms}
    size = ("positions", "max_position_embeddings")
    given = {key: value for key, value in options.as_dict().items() if key in size}
    settings = load_settings(options.preset).override(given)
    rows = rows_of(arms, settings, [name for name in chosen if name])
    matched(rows, settings, {"vocab_size": 65})  # builds each, or raises
    assert len(rows) > len(arms) or not options.controls  # each control has a row


def test_the_pages_say_what_is_and_is_not_reproduced():
    for path in PAGES.values():
        text = path.read_text(encoding="utf-8")
        assert "eproduced: needs" in text, path.name


@pytest.mark.parametrize(
    ("name", "which", "sizes"),
    [(name, *how) for page in BLOCKS.PAGES.values() for name, how in page.drawn.items()],
)
def test_a_picture_shows_the_circuit(name, which, sizes):
    """Its gates and their angles; equal bytes would depend on matplotlib's version."""
    picture = (ROOT / f"docs/pictures/circuit-{name}.svg").read_text(encoding="utf-8")
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    experiment = circuits_of(name, **sizes)[which]
    circuit = experiment.circuit
    boxes = [gate.name for gate in circuit.gates if not (gate.name == "X" and gate.controls)]
    axes = [
        "".join(sorted({*letters} - {"I"}))
        for letters in zip(*experiment.strings.strings, strict=True)
    ]
    named = boxes + [letter for letter in axes if letter in boxes]  # below the meters
    assert sorted(text for text in shown if text in boxes) == sorted(named)
    for angle in circuit.parameters:
        assert any(re.fullmatch(rf".*?{re.escape(angle)}(/\d+)?", label) for label in shown), angle
