"""The scripts of ``ketformer completion``: shtab writes them from the parsers of all verbs."""

from __future__ import annotations

import importlib
import re
from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jsonargparse
import shtab
from transformers import SchedulerType
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ketformer.attention import ATTENTION
from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.cli import VERBS
from ketformer.cli.bench import BENCHMARKS
from ketformer.cli.circuit import ACTIONS
from ketformer.cli.common import Parser
from ketformer.cli.reproduce import PAPERS
from ketformer.models import PRESETS
from ketformer.quantum.backends import BACKENDS
from ketformer.reproduction.overlap import OVERLAP_ROWS
from ketformer.tasks.datasets import DATASETS

Kind = Literal["words", "runs", "files", "yaml"]


@dataclass(frozen=True)
class Values:
    """What an option or argument takes: words, and perhaps something that lies in a folder."""

    words: tuple[str, ...] = ()
    kind: Kind = "words"


def _words(words: Iterable[str], kind: Kind = "words") -> Values:
    return Values(tuple(words), kind)


#: By the name of an option or argument, or by ``VERB.NAME`` where verbs differ. What is not here
#: is completed by its type, if that is a choice.
VALUES = {
    "attention": _words(ATTENTION),
    "attentions": _words(ATTENTION),
    "mechanisms": _words(ATTENTION),
    "backend": _words(BACKENDS),
    "backends": _words(BACKENDS),
    "preset": _words(PRESETS, "yaml"),
    "data": _words(DATASETS, "files"),
    "split": _words(("standard", "published", "train", "validation", "test")),
    "tokenizer": _words(("char", "bpe")),
    "report_to": _words(("none", *INTEGRATION_TO_CALLBACK)),
    "lr_scheduler_type": _words(kind.value for kind in SchedulerType),
    "rows": _words(variant.name for variant in OVERLAP_ROWS),
    "run": Values(kind="runs"),
    "runs": Values(kind="runs"),
    "paths": Values(kind="runs"),
    "file": Values(kind="files"),
    "out": Values(kind="files"),
    "profile": Values(kind="files"),
    "shell": _words(("bash", "zsh", "fish")),
    "paper": _words(PAPERS, "runs"),
    "subject": _words(mechanisms_with_circuits(), "runs"),
    "what": _words((*BENCHMARKS, "all")),
    "circuit.action": _words(ACTIONS),
    "data.action": _words(("list", "get")),
    "data.name": _words(DATASETS),
}

# What lies in a folder. `$1` is the word that is completed.
_PATHS: dict[str, dict[Kind, str]] = {
    "bash": {
        "words": "",
        "runs": """local file found
  for file in runs/*/manifest.json runs/*/*/manifest.json; do
    file=${file%/*}
    [[ -d $file && $file == "$1"* ]] && found=1 && printf '%s\\n' "$file"
  done
  [[ $found ]] || compgen -d -- "$1"
""",
        "files": 'compgen -f -- "$1"',
        "yaml": """compgen -f -X '!*.y*ml' -- "$1"; [[ $1 ]] && compgen -d -- "$1\"""",
    },
    "zsh": {
        "words": "",
        "runs": """local -a runs=(runs/*/manifest.json(N:h) runs/*/*/manifest.json(N:h))
  compadd -a runs || _files -/""",
        "files": "_files",
        "yaml": "_files -g '*.(yml|yaml)'",
    },
    "fish": {
        "words": "",
        "runs": """for file in runs/*/manifest.json runs/*/*/manifest.json
    dirname $file
  end
  __fish_complete_directories (commandline -ct)""",
        "files": "__fish_complete_path (commandline -ct)",
        "yaml": "__fish_complete_suffix .yaml",
    },
}
_FUNCTIONS = {
    "bash": """{name}() {{
  compgen -W "{words}" -- "$1"
  {paths}
}}""",
    "zsh": """{name}() {{
  compadd -- {words}
  {paths}
}}""",
    "fish": """function {name}
  printf '%s\\n' {words}
  {paths}
end""",
}


def completion_script(shell: str) -> str:
    """The script for ``bash``, ``zsh`` or ``fish``."""
    command = jsonargparse.ArgumentParser(prog="ketformer", formatter_class=HelpFormatter)
    command.add_argument("--version", action="store_true", help="the version")
    verbs = command.add_subcommands(required=False, dest="verb")
    for verb, summary in VERBS.items():
        verbs.add_subcommand(verb, _parser(verb, summary), help=summary)
    script: str = command.get_completion_script(f"shtab-{shell}")
    # zsh would complete the first of several arguments alone.
    return script.replace('"(*):', '"*:') if shell == "zsh" else script


def _parser(verb: str, summary: str) -> Parser:
    module: Any = importlib.import_module(f"ketformer.cli.{verb.replace('-', '_')}")
    parser = Parser(verb, summary, module.EXAMPLE)
    module.add_arguments(parser)
    for action in parser._actions:
        if action.help != SUPPRESS:
            action.help = re.split(r"[:;,.] | \(", action.help or "")[0].rstrip(".")
            _tell_values(action, verb)
    return parser


def _tell_values(action: Action, verb: str) -> None:
    key = f"{verb}.{action.dest}" if f"{verb}.{action.dest}" in VALUES else action.dest
    if key not in VALUES:
        return
    values = VALUES[key]
    if values.kind == "words":
        action.choices = values.words
    elif values == Values(kind="files"):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    else:
        action.complete = _function(key, values)  # type: ignore[attr-defined]


def _function(key: str, values: Values) -> dict[str, Any]:
    """A function of each shell's own for words and paths together, as shtab takes it."""
    # shtab looks for `_dir` in the name: a path is gone on with, where a word would be finished.
    name = f"_ketformer_dir_{key.replace('.', '_')}"
    preamble = {
        shell: text.format(
            name=name, words=" ".join(values.words), paths=_PATHS[shell][values.kind]
        )
        for shell, text in _FUNCTIONS.items()
    }
    calls = {"bash": name, "zsh": name, "fish": f"({name})"}
    return {**calls, "preamble": preamble}
