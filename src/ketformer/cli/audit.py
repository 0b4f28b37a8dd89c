"""``ketformer audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ketformer.attention import ATTENTION
from ketformer.audit import audit_causality
from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.errors import KetformerError
from ketformer.runs import open_run
from ketformer.utils.progress import Bars

EXAMPLE = """  ketformer audit --attention qisa_published
  ketformer audit --attention overlap,classical
  ketformer audit runs/mine --require_causal"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("run", type=str | None, nargs="?", default=None, help="run directory")
    parser.add_argument(
        "--attention", type=str | None, default=None,
        help="audit a small untrained model with this mechanism, or one for each layer, as in "
        f"overlap,classical: {', '.join(ATTENTION)}",
    )  # fmt: skip
    parser.add_argument("--sequences", type=int, default=8, help="random sequences to try (8)")
    parser.add_argument("--length", type=int | None, default=None, help="tokens in a sequence")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sequences (0)")
    parser.add_argument(
        "--require_causal", action="store_true", help="exit with 1 if the model sees the future"
    )


def run(options: Any) -> int:
    """Audit, and print the result."""
    if (options.run is None) == (options.attention is None):
        raise KetformerError("name either a run directory or an --attention")
    if options.sequences < 1 or (options.length is not None and options.length < 2):
        raise KetformerError("an audit needs at least one sequence of two tokens")
    if options.run is None:
        subject: Any = options.attention
    elif options.run in ATTENTION and not Path(options.run).exists():
        raise KetformerError(f"no run directory {options.run!r}; did you mean --attention?")
    else:
        subject = open_run(options.run).model
    with Bars(True, "position", delay=1.0) as bars:
        audit = audit_causality(
            subject,
            sequences=options.sequences,
            length=options.length,
            seed=options.seed,
            step=bars("audit"),
        )
    if options.json:
        print_json(audit.to_dict())
    else:
        print_facts({k: v for k, v in audit.to_dict().items() if v is not None})
        if audit.worst:
            print(
                f"\nChanging token {audit.worst[0]} changes the output at the earlier position "
                f"{audit.worst[1]}: the future leaks."
            )
    return 1 if options.require_causal and not audit.causal else 0
