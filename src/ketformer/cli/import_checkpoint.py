"""``ketformer import-checkpoint``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.runs.import_checkpoint import import_checkpoint

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer import-checkpoint quantum_sequence_epoch_17.pt --out runs/published
  ketformer evaluate runs/published --split published"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("file", type=str, help="a .pt file released with arXiv 2502.19214")
    parser.add_argument("--out", type=str, required=True, help="run directory to create")


def run(options: Any) -> int:
    """Import a checkpoint and print its facts."""
    facts = import_checkpoint(options.file, options.out)
    if options.json:
        print_json(facts)
        return 0
    print_facts(facts)
    print(f"\nnext: ketformer generate {options.out} --num 1000 --out molecules.csv")
    return 0
