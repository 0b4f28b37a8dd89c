"""Shared by the verbs: the parser, JSON and tables."""

from __future__ import annotations

import json
import math
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from rich.console import Console
from rich.table import Table

from ketformer.comparison.formats import Format, formatted
from ketformer.comparison.tables import Columns, cell
from ketformer.errors import KetformerError

#: Help of ``--cluster``, for every verb that trains several runs.
_CLUSTER_HELP = (
    "train on a Ray cluster (pip install 'ketformer[ray]'): its address, or auto for the one that "
    "this machine belongs to; then --jobs counts all its nodes (one for each core or GPU)"
)


class _Formatter(RawDescriptionHelpFormatter):
    """Plain help that keeps the example's line breaks."""


class Parser(jsonargparse.ArgumentParser):
    """A verb's parser; a mistake raises a one-line :class:`KetformerError`."""

    def __init__(self, verb: str, summary: str, example: str, usage: str | None = None) -> None:
        super().__init__(
            prog=f"ketformer {verb}",
            usage=usage,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n{example}",
            formatter_class=_Formatter,
            exit_on_error=False,
        )
        self.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object on standard output and nothing else",
        )

    def parse(self, args: list[str]) -> jsonargparse.Namespace:
        """Parse the arguments; options not given get their defaults."""
        # Of options two levels down in a mapping, jsonargparse would keep the last one only.
        deep = re.compile(r"^(--(?:attention|backend)_options\.\w+)\.")
        args = [deep.sub(r"\1:", arg) for arg in args]
        try:
            return self.parse_args(args)
        except jsonargparse.ArgumentError as error:
            raise KetformerError(_plain(str(error))) from None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise for unknown or missing arguments; argparse calls this itself."""
        raise KetformerError(_plain(message))


def underscored(args: list[str]) -> list[str]:
    """Let ``--max-steps`` work as well as ``--max_steps``."""
    out = []
    for arg in args:
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = "--" + name[2:].replace("-", "_") + equals + value
        out.append(arg)
    return out


def report_error(message: str) -> None:
    """Print one line on standard error."""
    print(f"ketformer: error: {' '.join(message.split())}", file=sys.stderr)


def use_one_thread() -> None:
    """Use one thread, for verbs that train tiny models.

    Their tensors gain little from a second thread, and wait at each of its barriers
    while another process has the core.
    """
    import torch

    torch.set_num_threads(1)


def print_json(result: Any) -> None:
    """Print one JSON object on standard output; non-finite numbers become null."""
    print(json.dumps(_finite(result), ensure_ascii=False))


def print_rows(rows: list[dict[str, Any]], columns: Columns) -> None:
    """Print a comparison as a table on standard output."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, (title, _) in enumerate(columns):
        table.add_column(title, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        style = None if row["causal"] else "red"
        table.add_row(*(cell(row, key) for _, key in columns), style=style)
    # A pipe or a file has no width: let the table be as wide as it needs.
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def add_jobs_arguments(parser: Parser) -> None:
    """Add ``--jobs`` and ``--cluster``, for verbs that train several runs."""
    parser.add_argument(
        "--jobs", type=int | None, default=None,
        help="runs to train at once, sharing the cores (one for each core; 1 on a GPU)",
    )  # fmt: skip
    parser.add_argument("--cluster", type=str | None, default=None, help=_CLUSTER_HELP)


def runs_at_once(options: Any) -> int | None:
    """``--jobs``, by default as many as this machine takes; a cluster decides for itself."""
    from ketformer.utils.machine import default_processes  # needs torch, unlike some verbs

    if options.jobs is None and options.cluster is None:
        return default_processes()
    jobs: int | None = options.jobs
    return jobs


def add_paper_arguments(parser: Parser) -> None:
    """Add ``--format`` and ``--plots``, for verbs whose result is a comparison's."""
    add_format_argument(parser)
    parser.add_argument(
        "--plots", type=str | None, default=None, metavar="FOLDER",
        help="also draw forest plots and learning curves there, each as PDF and SVG",
    )  # fmt: skip


def add_format_argument(parser: Parser) -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format", type=Format | None, default=None,
        help="print the table for a paper: markdown, latex (booktabs) or csv",
    )  # fmt: skip


def check_paper_arguments(options: Any) -> Path | None:
    """Check ``--format`` and ``--plots`` before any work; return the folder for plots, created.

    Raises:
        KetformerError: ``--format`` beside ``--json``, or ``--plots`` names no folder.
    """
    if options.format and options.json:
        raise KetformerError("--format and --json both decide what is printed; choose one")
    if (plots := getattr(options, "plots", None)) is None:
        return None
    folder = Path(plots)
    if folder.is_file() or folder.suffix.lower() in (".pdf", ".svg", ".png"):
        raise KetformerError(f"--plots {plots}: name a folder; it gets a PDF and an SVG of each")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def print_formatted(result: Mapping[str, Any], form: str) -> None:
    """Print a result as tables for a paper; notes that CSV cannot hold go to standard error."""
    print(formatted(result, form), end="")
    if form == "csv":
        for note in result.get("notes") or []:
            print(note, file=sys.stderr)


def print_table(rows: list[dict[str, Any]], columns: Sequence[tuple[str, str]]) -> None:
    """Print plain numbers as a table on standard output."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, key in columns:
        words = isinstance(rows[0][key], str)
        table.add_column(title, justify="left" if words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_plain_cell(row[key]) for _, key in columns))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def _plain_cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    # Beyond ten digits the magnitude says more than the digits.
    return (
        f"{value:,}"
        if isinstance(value, int) and value < 10**10
        else (f"{value:.2e}" if isinstance(value, int) else str(value))
    )


def print_facts(facts: dict[str, Any]) -> None:
    """Print ``name  value`` lines on standard output."""
    wide = max(map(len, facts))
    for name, value in facts.items():
        shown = f"{value:.4f}" if isinstance(value, float) else "–" if value is None else value
        if isinstance(value, bool):
            shown = "yes" if value else "NO"
        elif isinstance(value, int):
            shown = f"{value:,}"
        elif isinstance(value, list):
            shown = ", ".join(map(str, value)) or "–"
        print(f"{name:<{wide}}  {shown}")


def _plain(message: str) -> str:
    """Reword a type error as ``--limit must be int or null, got x``; keep other messages."""
    key = re.match(r'Parser key "(.+?)":', message)
    kinds = re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", message, re.MULTILINE)
    got = re.search(r"^.*\b(?:Got|Given) value: (.*)$", message, re.MULTILINE)
    if not (key and kinds and got):
        return message
    wanted = re.sub(r"<class '(\w+)'>|typing\.", r"\1", " or ".join(kinds))
    wanted = re.sub(r"Literal\[(.*?)\]", lambda m: "one of " + m[1].replace("'", ""), wanted)
    return f"--{key[1]} must be {wanted.replace('NoneType', 'null')}, got {got[1]}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
