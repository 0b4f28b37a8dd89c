"""The command. Each verb is a module in this package with `add_arguments` and `run`.

What `run` alone needs, a verb imports under ``if TYPE_CHECKING:``; it is imported once the options
are parsed. What its options are, where a module that needs torch says it, is read from the source
of that module (:mod:`ketformer.utils.declared`). So neither help nor a mistake needs torch.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from ketformer.cli.common import Parser, report_error, underscored
from ketformer.errors import KetformerError, Stopped
from ketformer.utils.lazy import collector_paused

#: Verb to its one-line summary; the module has the same name.
VERBS = {
    "demo": "the main job on embedded data, in a few minutes: train, audit, compare, sample",
    "train": "train one model into a run directory",
    "evaluate": "all metrics of a run",
    "generate": "write text or molecules with a trained model",
    "optimise": "steer a model of molecules towards what an oracle scores high",
    "attention": "draw what a model attends to",
    "audit": "prove or refute that no position sees a later one",
    "convert": "put a mechanism into a Hugging Face model, in place of its self-attention",
    "compare": "train mechanisms on equal terms and print a table with intervals",
    "verdict": "is a mechanism's gain real, and what explains it? one answer, one page",
    "leaderboard": "every mechanism beside its classical twins, on text and molecules",
    "reproduce": "a paper's table: published, ours as published, ours leak-free",
    "sweep": "train with many values of options, and sort them by validation loss",
    "report": "one self-contained HTML page about runs or a comparison",
    "import-checkpoint": "turn published weights into a run directory",
    "cite": "print BibTeX of mechanisms, data sets and Ketformer",
    "bench": "time mechanisms and circuits, as ratios in one run",
    "circuit": "draw, export, count and check the circuits of a mechanism",
    "data": "list data sets, or get one",
    "app": "a local page to try a run: text, molecules, circuits",
    "completion": "print a script that completes this command in bash, zsh or fish",
}

_USAGE = """usage: ketformer VERB [options]

Quantum and quantum-inspired self-attention for generative transformers.

verbs:
{verbs}

options:
  -h, --help     show this text; `ketformer VERB --help` has examples of a verb
  -V, --version  show the version

exit codes:
  0    success
  1    a check failed: a model or the backends do not meet a requirement
  2    a mistake in the request, reported in one line
  130  stopped by Ctrl-C (SIGINT); 143 by SIGTERM; training saves a checkpoint first

example:
  ketformer demo
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; ``ketformer --help`` lists the codes."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in {"-h", "--help"}:
        listed = "\n".join(f"  {verb:<17}  {summary}" for verb, summary in VERBS.items())
        print(_USAGE.format(verbs=listed), end="")
        return 0
    if args[0] in {"-V", "--version"}:
        print(f"ketformer {version('ketformer')}")
        return 0
    verb, rest = args[0], underscored(args[1:])
    if verb not in VERBS:
        report_error(f"unknown verb {verb!r}; verbs: {', '.join(VERBS)}")
        return 2
    try:
        return _run(verb, rest, alone=argv is None)
    except KetformerError as error:
        report_error(str(error))
        return 2
    except BrokenPipeError:  # `ketformer … | head`: the reader is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        report_error(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        report_error(f"not enough memory: {str(error).partition(': ')[2] or 'it ran out'}")
        return 2
    except Stopped as stopped:
        again = f"ketformer train --out {stopped.run} --resume"
        report_error(f"{stopped}; resume with: {again if verb == 'train' else 'the same command'}")
        return 128 + stopped.signal
    except KeyboardInterrupt:
        report_error("interrupted")
        return 130


def _run(verb: str, args: list[str], *, alone: bool) -> int:
    """Run a verb; ``alone`` if this process does nothing else."""
    with collector_paused():
        try:
            module = importlib.import_module(f"ketformer.cli.{verb.replace('-', '_')}")
            parser = Parser(verb, VERBS[verb], module.EXAMPLE, getattr(module, "USAGE", None))
            module.add_arguments(parser)
            options = parser.parse(args)
            for name in getattr(module, "__all__", ()):
                getattr(module, name)
        finally:
            if alone:
                gc.freeze()  # nor later: at the end, to search the imports takes a second
    if "transformers" in sys.modules:  # takes seconds to import, and not every verb needs it
        from ketformer.utils.logging import quiet_libraries

        quiet_libraries()
    with warnings.catch_warnings():
        warnings.showwarning = _one_line_warning  # type: ignore[assignment]
        code: int = module.run(options)
    return code


def _one_line_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # Our own warnings are for the user; other libraries' speak to their developers.
    if category.__module__.startswith("ketformer") or category is UserWarning:
        print(f"ketformer: warning: {message}", file=sys.stderr)
