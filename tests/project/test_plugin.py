"""A separately installed mechanism, feed-forward layer, backend and metric: every verb has them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from commands import subprocess_environment, write_settings
from ketformer.runs import open_run

PLUGIN = Path(__file__).resolve().parents[1] / "plugin"

# Runs several commands in one process; starting it costs more than they do.
IN_TURN = """
import json, sys
from ketformer.cli import main
for command in json.loads(sys.argv[1]):
    print(">", *command, flush=True)
    if code := main(command):
        sys.exit(code)
from ketformer.attention.registry import causal_mechanisms
from ketformer.comparison.leaderboards import TERMS, arms_of
print("> arms on the leaderboard, and whether it is of those that the verb alone takes")
print(*(arms_of(["cosine"], its.settings({})) for its in TERMS.values()), sep="\\n")
print("cosine" in causal_mechanisms())
"""

LOAD_AND_TEST = """
{snippet}
print(model.model.layers[0].attention.turn, flush=True)
import sys, pytest
plugin = sys.argv[1]
where = ["--rootdir", plugin, "-c", plugin + "/pyproject.toml"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", plugin + "/test_cosine.py", *where]))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a fresh environment with the plugin and all packages of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    ours = sysconfig.get_path("purelib")
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    source = shutil.copytree(PLUGIN, folder / "plugin")  # a build leaves things behind
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", str(source)]
    command = [sys.executable, "-m", "pip", "--python", str(python), *install]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return python


@pytest.fixture(scope="module")
def run(python, tmp_path_factory):
    """Runs that Python with arguments in a separate folder, and returns what was printed."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def run(*args):
        done = subprocess.run(
            [python, *map(str, args)],
            capture_output=True, text=True, cwd=folder, timeout=300, env=subprocess_environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def made(run, text, tmp_path_factory):
    """The folder of a trained run and a comparison, and the output of each command."""
    folder = tmp_path_factory.mktemp("made")
    model = {"attention": "cosine", "feed_forward": "wave"}
    settings = write_settings(folder / "cosine.yaml", text, model=model)
    commands = {
        "train": ["train", settings, "--attention_options.turn", "0.5",
                  "--feed_forward_options.frequency", "2.0", "--out", folder / "run"],
        "audit": ["audit", folder / "run", "--json", "--require_causal"],
        "evaluate": ["evaluate", folder / "run", "--limit", "20", "--json"],
        "check": ["circuit", "check", "cosine", "--backends", "again", "--draws", "6", "--json"],
        "show": ["circuit", "show", folder / "run", "--json"],
        "compare": ["compare", "classical", "cosine", "--preset", settings, "--seeds", "1",
                    "--rates", "1", "--max_steps", "4", "--jobs", "2", "--json",
                    "--out", folder / "compared"],
        "report": ["report", folder / "run", "--out", folder / "report.html"],
        "submit": submitted()[1][1:],
    }  # fmt: skip
    printed = run("-c", IN_TURN, json.dumps([list(map(str, c)) for c in commands.values()]))
    parts = [part.partition("\n")[2] for part in printed.split("> ")[1:]]
    return folder, dict(zip((*commands, "arms"), parts, strict=True))


def submitted():
    """The commands with which the leaderboard's page tells to submit a mechanism, as words."""
    page = (PLUGIN.parents[1] / "docs/leaderboard.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ (.*)$", page.partition("## Submit a mechanism")[2], re.MULTILINE)
    return [shlex.split(line.replace("mine", "cosine")) for line in lines]


def test_it_trains_is_audited_and_measured(made):
    _, printed = made
    assert json.loads(printed["audit"])["causal"] is True
    measured = json.loads(printed["evaluate"])
    assert 0 < measured["distinct_letters"] <= 1
    assert measured["attention"] == "cosine"


def test_every_file_names_the_package_and_its_version(made):
    folder, _ = made
    config = json.loads((folder / "run/config.json").read_text())
    assert config["attention_package"] == "ketformer-cosine==0.3"
    assert config["attention_options"] == {"turn": 0.5}
    assert config["feed_forward_package"] == "ketformer-cosine==0.3"
    assert config["feed_forward_options"] == {"frequency": 2.0}
    manifest = json.loads((folder / "run/manifest.json").read_text())
    assert manifest["packages"] == ["ketformer-cosine==0.3"]
    card = (folder / "run/README.md").read_text()
    assert "`pip install 'ketformer-cosine==0.3'`" in card
    assert "distinct letters, of those in the text" in card


def test_its_circuits_are_checked_and_shown(made):
    _, printed = made
    checked = json.loads(printed["check"])
    assert checked["agree"] is True
    assert [(row["backend"], row["mechanism"]) for row in checked["rows"]] == [("again", "cosine")]
    assert json.loads(printed["show"])["measured"] == ["ZIII", "IZII", "IIZI", "IIIZ"]


def test_two_worker_processes_compare_it(made):
    _, printed = made
    compared = json.loads(printed["compare"])
    assert [row["name"] for row in compared["rows"]] == ["classical", "cosine"]
    for row in compared["rows"]:
        assert 0 < row["distinct_letters"]["mean"] <= 1
    assert any(heading == "letters" for heading, _ in compared["columns"])


def test_the_report_shows_it(made):
    page = (made[0] / "report.html").read_text()
    assert "cosine" in page
    assert "letters" in page


def test_it_can_be_put_on_the_leaderboard(made):
    _, printed = made
    install, audit, compare = submitted()
    assert install == ["pip", "install", "./my_package"]  # what the fixture does with the plugin
    assert audit[:2] == ["ketformer", "audit"]
    assert "causal" in printed["submit"]
    assert compare[:3] == ["ketformer", "leaderboard", "cosine"]
    *arms, every = printed["arms"].splitlines()
    assert arms == ["['classical', 'cosine']"] * 2
    assert every == "True"


@pytest.mark.slow
def test_processes_of_a_benchmark_know_it(run):
    bench = ["bench", "memory", "--mechanisms", "cosine", "--length", 32, "--repeats", 1, "--json"]
    rows = json.loads(run("-m", "ketformer", *bench))["rows"]
    assert {row["name"] for row in rows} == {"classical", "cosine"}


def test_another_process_loads_it_as_the_card_says_and_its_own_tests_pass(run, made):
    """Both in one, because starting it takes longer than either."""
    folder, _ = made
    card = (folder / "run/README.md").read_text()
    snippet = card.partition("```python\n")[2].partition("```")[0]
    snippet = snippet.replace("path/to/this/folder", str(folder / "run"))
    turn, _, tests = run("-c", LOAD_AND_TEST.format(snippet=snippet), PLUGIN).partition("\n")
    assert turn == "0.5"
    assert " passed" in tests
    assert "failed" not in tests


def test_without_the_package_one_line_says_what_to_install(ketformer, made):
    """This process does not have it."""
    folder, _ = made
    remedy = "pip install 'ketformer-cosine==0.3'"
    for verb in ("evaluate", "audit", "generate"):
        ketformer(verb, folder / "run").assert_mistake(
            "the attention 'cosine' comes from a package that is not installed here", remedy
        )
    ketformer("train", "--out", folder / "run", "--resume").assert_mistake("unknown feed_forward")
    with pytest.raises(ValueError, match=r"ketformer-cosine==0\.3"):
        open_run(folder / "run")
    assert os.listdir(folder / "run")
