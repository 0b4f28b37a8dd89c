"""``ketformer convert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ketformer.attention import ATTENTION
from ketformer.cli.common import Parser, print_facts, print_json, print_table
from ketformer.errors import KetformerError
from ketformer.utils.choices import Init
from ketformer.utils.declared import field_defaults
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.attention import with_files_read
    from ketformer.conversion.directory import convert_directory
    from ketformer.conversion.distill import Distillation

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer convert my-gpt2 --attention overlap --data my.txt --out converted
  ketformer convert my-llama --attention qisa --layers 0,2 --init random --out hybrid
  ketformer convert my-gpt2 --data my.txt --steps 1000 --logit_steps 500 --out closer"""

_COLUMNS = (
    ("attention", "attention"),
    ("layer", "layer"),
    ("parameters", "parameters"),
    ("error at start", "error_start"),
    ("at end", "error_end"),
    ("held out, at start", "held_out_start"),
    ("at end", "held_out_end"),
)
_HELP = {
    "steps": "steps of fitting each attention to the outputs of the old one",
    "logit_steps": "steps of fitting all of them together to the old model's logits, afterwards",
    "learning_rate": "learning rate of the first",
    "logit_learning_rate": "learning rate of the second",
    "batch_size": "rows of the text in a step",
    "context": "tokens in a row",
    "held_out": "share of the rows that only measures the errors",
    "seed": "seed of the new weights and of the order of the rows",
}


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "folder", type=str,
        help="a model of type openai-gpt, gpt2, gpt_neox, llama, mistral, qwen2 or qwen3, as "
        "save_pretrained writes it",
    )  # fmt: skip
    parser.add_argument("--out", type=str, required=True, help="folder to create")
    parser.add_argument(
        "--attention", type=str, default="overlap",
        help=f"the mechanism: {', '.join(ATTENTION)} (overlap)",
    )  # fmt: skip
    parser.add_argument(
        "--attention_options", type=dict[str, Any], default={},
        help="the mechanism's options, e.g. --attention_options.n_qubits 4",
    )  # fmt: skip
    parser.add_argument(
        "--layers", type=str, default="all", help="numbers of the layers, from 0, e.g. 0,2 (all)"
    )
    parser.add_argument(
        "--init", type=Init, default="distill",
        help="distill: fit each new attention to the old one's outputs on --data; random: keep "
        "what means the same, draw the rest (distill)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=str | None, default=None,
        help="calibration text for distill: a data set's name or a path",
    )  # fmt: skip
    defaults = field_defaults("ketformer.conversion.distill:Distillation")
    for name, told in _HELP.items():
        default = defaults[name]
        parser.add_argument(
            f"--{name}", type=type(default), default=default, help=f"{told} ({default})"
        )


def run(options: Any) -> int:
    """Convert, and print how close the new attentions are."""
    import torch

    torch.manual_seed(options.seed)
    report = convert_directory(
        options.folder,
        options.out,
        options.attention,
        _layers(options.layers),
        options.init,
        data=options.data,
        attention_options=with_files_read(options.attention_options),
        distillation=Distillation(**{name: options[name] for name in _HELP}),
    )
    if options.json:
        print_json(report)
        return 0
    if fitted := report["distillation"]:
        print_table(fitted["layers"], _COLUMNS)
        print(
            "\nErrors: the share of the variance of the old attention's outputs that is missed.\n"
        )
        for stage, value in fitted["kl"].items():
            print(f"KL divergence from the old model, {_STAGES[stage]}: {value:.4g} nats per token")
        print()
    print_facts({"parameters": report["parameters"], "out": report["out"]})
    return 0


_STAGES = {"start": "at the start", "attention": "attention fitted", "logits": "logits fitted"}


def _layers(text: str) -> list[int] | Literal["all"]:
    if text == "all":
        return "all"
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise KetformerError(f"--layers are numbers such as 0,2, or all; got {text!r}") from None
