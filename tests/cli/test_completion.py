"""``ketformer completion``: what a shell offers when TAB is pressed, and its cost."""

import os
import shutil
import subprocess
import sys

import pexpect
import pytest

from ketformer.attention import ATTENTION
from ketformer.cli import VERBS
from ketformer.cli.circuit import ACTIONS
from ketformer.cli.completion import SHELLS
from ketformer.cli.completion_script import VALUES, completion_script
from ketformer.models import PRESETS
from ketformer.quantum.backends import BACKENDS
from ketformer.tasks.datasets import DATASETS

# What bash does when TAB is pressed: it sets the words and the current one, and calls the function.
ASK = """
source "$1"
function=$(complete -p ketformer | sed 's/.*-F \\([^ ]*\\).*/\\1/')
while read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *' .' ]] && COMP_WORDS[-1]=''
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9 COMPREPLY=()
  $function 2> /dev/null
  echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """``script("bash")``: its path. Making all scripts takes a second."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        (folder / shell).write_text(completion_script(shell))
    return lambda shell: folder / shell


@pytest.fixture
def offered(script, tmp_path):
    """``offered("ketformer train .")``: bash's offers for the last word; a dot is an empty one."""
    for run in ("runs/mine", "runs/compare/qisa-seed42"):
        (tmp_path / run).mkdir(parents=True)
    (tmp_path / "notes.txt").touch()

    def ask(line):
        done = subprocess.run(
            ["bash", "-c", ASK, "ask", script("bash")],
            input=f"{line}\n", capture_output=True, text=True, cwd=tmp_path, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return ask


def test_verbs(offered):
    assert offered("ketformer .") == list(VERBS)
    assert offered("ketformer comp") == ["compare", "completion"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ketformer train --attention .", list(ATTENTION)),
        ("ketformer compare classical qisa_a", ["qisa_a", "qisa_a_published"]),
        ("ketformer bench attention --mechanisms qisa over", ["overlap"]),
        ("ketformer evaluate runs/mine --backend .", list(BACKENDS)),
        ("ketformer circuit check --backends torch pe", ["pennylane"]),
        ("ketformer circuit .", list(ACTIONS)),
        ("ketformer data get .", list(DATASETS)),
        ("ketformer cite qisa tiny", ["tinyshakespeare"]),
        ("ketformer sweep .", list(PRESETS)),
        ("ketformer report --format .", ["markdown", "latex", "csv"]),
        ("ketformer reproduce qisa --rows overlap_s", ["overlap_sequence"]),
        ("ketformer train char-gpt --norm_position .", ["pre", "post"]),
        ("ketformer train char-gpt --bf16 t", ["true"]),
        ("ketformer train .", list(PRESETS)),
        ("ketformer train --data n", ["notes.txt"]),
        ("ketformer evaluate runs/c", ["runs/compare"]),
        ("ketformer report runs/m", ["runs/mine"]),
        ("ketformer reproduce o", ["overlap"]),
        ("ketformer generate runs/mine --out n", ["notes.txt"]),
        ("ketformer completion .", list(SHELLS)),
    ],
)
def test_values(offered, line, words):
    assert offered(line) == words


def test_options_are_those_of_the_verb(offered):
    training = offered("ketformer train --")
    assert {"--attention", "--max_steps", "--resume", "--json"} <= set(training)
    assert "--resume" not in offered("ketformer evaluate --")
    assert offered("ketformer audit --re") == ["--require_causal"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_the_script(script, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    done = subprocess.run([shell, "-n", script(shell)], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ketformer comp", ["compare", "completion"]),
        ("ketformer compare qisa_", ["qisa_a", "qisa_a_published", "qisa_published"]),
        ("ketformer compare classical qisa_", ["qisa_a", "qisa_a_published", "qisa_published"]),
        ("ketformer train --attention classical_q", ["classical_qk_norm", "classical_quadratic"]),
    ],
)
def test_zsh_offers_them_when_tab_is_pressed(script, tmp_path, line, words):
    if shutil.which("zsh") is None:
        pytest.skip("no zsh on this machine")
    (tmp_path / ".zshrc").write_text(
        f"""PS1='ready> '; autoload -U compinit; compinit -u -D
        eval "$(cat {script("zsh")})"; bindkey '^I' complete-word; LISTMAX=0; setopt no_beep"""
    )
    environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    zsh = pexpect.spawn(
        "zsh", ["-i"], env=environment, encoding="utf-8", timeout=60, dimensions=(60, 150)
    )
    zsh.expect("ready> ")
    zsh.send(f"{line}\t\t")
    zsh.expect(r"\n" + r"\s+(?:-- [^\n]*\n)?".join(words) + r"\b.*ready> ")
    zsh.close(force=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_script_knows_every_verb_and_preset(script, shell):
    text = script(shell).read_text()
    assert all(verb in text for verb in VERBS)
    assert all(preset in text for preset in PRESETS)


def test_every_value_is_one_word():
    """A shell splits at white space."""
    words = [word for v in VALUES.values() if not isinstance(v, dict) for word in v]
    assert all(word.split() == [word] for word in words)


def test_the_script_is_made_once_and_then_costs_no_torch(ketformer, script, monkeypatch):
    """A shell may request it at each start."""
    first = ketformer("completion", "bash")
    assert first.out == script("bash").read_text() + "\n"
    code = (
        "import sys; from ketformer.cli import main; main(['completion', 'bash']); "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == first.out + "set()\n"
    monkeypatch.setattr("ketformer.cli.completion.version", lambda package: "another")
    monkeypatch.setattr(
        "ketformer.cli.completion_script.completion_script", lambda shell: "made anew"
    )
    assert ketformer("completion", "bash").out == "made anew\n"
    assert ketformer("completion", "bash", "--json").json == {
        "shell": "bash",
        "script": "made anew",
    }


def test_an_unknown_shell_is_a_mistake(ketformer):
    ketformer("completion", "cmd").assert_mistake("unknown shell 'cmd'", "bash, zsh, fish")
