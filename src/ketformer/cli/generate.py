"""``ketformer generate``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ketformer.cli.common import Parser, print_json
from ketformer.generation import Sampling, generate_text
from ketformer.runs import open_run, write_text

EXAMPLE = """  ketformer generate runs/mine --prompt "ROMEO:" --num 3
  ketformer generate runs/mine --prompt "ROMEO:" --temperature 0 --num_beams 4"""

_HELP = {
    "max_new_tokens": "tokens to write after the prompt",
    "temperature": "divides the logits; 0 takes the most likely token",
    "top_k": "choose among the k most likely tokens; 0 for all",
    "top_p": "choose among the most likely tokens that hold this probability",
    "num_beams": "beam search; needs temperature 0",
    "seed": "of the sampling",
    "use_cache": "keep keys and values between tokens",
}


def add_arguments(parser: Parser) -> None:
    """The verb's options."""
    parser.add_argument("run", type=str, help="run directory")
    parser.add_argument("--prompt", type=str, default="", help="text to continue")
    parser.add_argument("--num", type=int, default=1, help="continuations (1)")
    parser.add_argument("--out", type=str | None, default=None, help="also write them to this file")
    for option in fields(Sampling):
        parser.add_argument(
            f"--{option.name}",
            type=type(option.default),
            default=option.default,
            help=f"{_HELP[option.name]} ({option.default})",
        )


def run(options: Any) -> int:
    """Sample and print."""
    opened = open_run(options.run)
    sampling = Sampling(**{option.name: options[option.name] for option in fields(Sampling)})
    texts = generate_text(opened, options.prompt, options.num, sampling)
    if options.out:
        write_text(Path(options.out), "\n\n".join(texts) + "\n")
    if options.json:
        print_json({"run": options.run, "prompt": options.prompt, "texts": texts})
        return 0
    for i, text in enumerate(texts):
        if options.num > 1:
            print(f"── {i + 1} ──")
        print(text)
    return 0
