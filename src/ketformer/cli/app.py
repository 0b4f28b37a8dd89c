"""``ketformer app``."""

from __future__ import annotations

import sys
from typing import Any

from ketformer.cli.common import Parser, print_json, use_one_thread

EXAMPLE = """  ketformer app                                   # demo models, trained on first use
  ketformer app runs/mine runs/molecules --port 8000
  ketformer app runs/mine --open true"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "runs", type=str, nargs="*", default=[],
        help="run directories (two demo models, kept in the user's cache)",
    )  # fmt: skip
    parser.add_argument(
        "--host", type=str, default="127.0.0.1",
        help="address to listen on; the default is reachable only from this machine (127.0.0.1)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (7860)")
    parser.add_argument("--open", type=bool, default=False, help="open a browser (false)")


def run(options: Any) -> int:
    """Serve the page until the user stops it."""
    use_one_thread()
    from ketformer.app.server import serve
    from ketformer.utils.logging import quiet_libraries

    quiet_libraries()  # the import above brought them in

    def ready(facts: dict[str, Any]) -> None:
        if options.json:
            print_json(facts)
        else:
            print(f"{facts['url']}  (Ctrl-C to stop)")
        sys.stdout.flush()

    serve(
        options.runs, host=options.host, port=options.port, open_browser=options.open, ready=ready
    )
    return 0
