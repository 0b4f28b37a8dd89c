"""``ketformer evaluate``."""

from __future__ import annotations

from typing import Any

from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.evaluation import evaluate, save_evaluation
from ketformer.runs import open_run

EXAMPLE = "  ketformer evaluate runs/mine\n  ketformer evaluate runs/mine --split validation --json"


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument("run", type=str, help="run directory")
    parser.add_argument(
        "--data", type=str | None, default=None, help="data set or path (the run's)"
    )
    parser.add_argument(
        "--split", type=str | None, default=None,
        help="standard or published (their test part), or train, validation, test",
    )  # fmt: skip
    parser.add_argument("--limit", type=int | None, default=None, help="windows to look at (all)")


def run(options: Any) -> int:
    """Measure, keep the result in the run if it is about the run's own data, print it."""
    opened = open_run(options.run)
    result = evaluate(opened, data=options.data, split=options.split, limit=options.limit)
    if options.data is None and options.split is None and options.limit is None:
        save_evaluation(opened, result)
    if options.json:
        print_json(result)
        return 0
    print_facts({k: v for k, v in result.items() if not isinstance(v, list)})
    if not result["causal"]:
        print(
            "\nThis model sees the tokens it is to predict: only prefix_cross_entropy and the "
            "free-running rates say how good it is."
        )
    return 0
