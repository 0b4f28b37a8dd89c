"""``ketformer attention``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.cli.common import Parser, print_json
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.evaluation import attention_map, draw_attention
    from ketformer.generation.molecules import parse_conditions
    from ketformer.runs import open_run

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer attention runs/mine "To be, or not"
  ketformer attention runs/molecules "CC1CC1C#N"
  ketformer attention runs/molecules "CC1CC1C#N" --layer 0 --head 2 --out pictures"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument("run", type=str, help="run directory")
    parser.add_argument(
        "text", type=str, help="text for the model to read; for a molecule model, a SMILES"
    )
    parser.add_argument("--layer", type=int, default=-1, help="index of the block (the last)")
    parser.add_argument(
        "--head", type=int | None, default=None, help="index of the head (the mean over all)"
    )
    parser.add_argument(
        "--condition", type=str, nargs="+", default=[], metavar="NAME=NUMBER",
        help="for a molecule model: properties to request, e.g. LogP=2.0",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None, help="output folder (RUN/attention)"
    )


def run(options: Any) -> int:
    """Draw the pictures and print their paths."""
    opened = open_run(options.run)
    attention = attention_map(
        opened,
        options.text,
        layer=options.layer,
        conditions=parse_conditions(options.condition),
    )
    atoms = opened.task == "molecules"
    folder = Path(options.out) if options.out else opened.path / "attention"
    files = [str(path) for path in draw_attention(attention, folder, options.head, atoms=atoms)]
    if options.json:
        weights = attention.of_head(options.head).tolist()
        print_json({"tokens": attention.tokens, "weights": weights, "files": files})
        return 0
    print("\n".join(files))
    return 0
