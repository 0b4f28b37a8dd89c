"""The scripts of ``ketformer completion``: shtab writes them from the parsers of all verbs."""

from __future__ import annotations

import importlib
import re
from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Iterable
from typing import Any

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
from ketformer.cli.reproduce import PAPERS, ROWS
from ketformer.comparison.formats import FORMATS
from ketformer.models import PRESETS
from ketformer.models.feed_forward import FEED_FORWARD
from ketformer.quantum.backends import BACKENDS
from ketformer.report.citations import citable
from ketformer.tasks.datasets import DATASETS

#: The values of an option or argument, by its name, or by ``VERB.NAME`` where verbs differ: words,
#: or one of shtab's kinds of path. Others are completed by their type, if that is a choice.
VALUES: dict[str, Iterable[str] | dict[str, str]] = {
    "attention": ATTENTION,
    "attentions": ATTENTION,
    "mechanisms": ATTENTION,
    "feed_forward": FEED_FORWARD,
    "backend": BACKENDS,
    "backends": BACKENDS,
    "preset": PRESETS,
    "data": shtab.FILE,
    "split": ("standard", "published", "train", "validation", "test"),
    "tokenizer": ("char", "bpe", "smiles", "safe", "selfies"),
    "report_to": ("none", *INTEGRATION_TO_CALLBACK),
    "lr_scheduler_type": [kind.value for kind in SchedulerType],
    "rows": [name for names in ROWS.values() for name in names],
    "run": shtab.DIRECTORY,
    "runs": shtab.DIRECTORY,
    "paths": shtab.FILE,
    "file": shtab.FILE,
    "out": shtab.FILE,
    "profile": shtab.FILE,
    "shell": ("bash", "zsh", "fish"),
    "paper": PAPERS,
    "subject": mechanisms_with_circuits(),
    "what": (*BENCHMARKS, "all"),
    "circuit.action": ACTIONS,
    "data.action": ("list", "get"),
    "data.name": DATASETS,
    "names": citable(),
    "plots": shtab.DIRECTORY,
    "format": FORMATS,
}


def completion_script(shell: str) -> str:
    """The script for ``bash``, ``zsh`` or ``fish``."""
    command = jsonargparse.ArgumentParser(prog="ketformer", formatter_class=HelpFormatter)
    command.add_argument("--version", action="store_true", help="the version")
    verbs = command.add_subcommands(required=False, dest="verb")
    for verb, summary in VERBS.items():
        verbs.add_subcommand(verb, _parser(verb, summary), help=summary)
    script: str = command.get_completion_script(f"shtab-{shell}")
    # In zsh, shtab completes only the first of several arguments, as a test in that shell shows.
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
    values = VALUES.get(f"{verb}.{action.dest}", VALUES.get(action.dest))
    if values in (shtab.FILE, shtab.DIRECTORY):
        action.complete = values  # type: ignore[attr-defined]
    elif values is not None:
        action.choices = tuple(values)
