"""``ketformer audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.attention import ATTENTION
from ketformer.cli.common import Parser, print_facts, print_json, use_one_thread
from ketformer.errors import KetformerError
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.audit import Audit, audit_causality, import_model, load_model
    from ketformer.runs import open_run
    from ketformer.runs.directory import MANIFEST_FILE, SETTINGS_FILE
    from ketformer.utils.progress import Bars

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer audit --attention qisa_published
  ketformer audit --attention overlap,classical
  ketformer audit runs/mine --require_causal
  ketformer audit path/to/hugging-face-model
  ketformer audit --model my_package.model:make_model --vocab_size 50257"""


def add_arguments(parser: Parser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "run", type=str | None, nargs="?", default=None,
        help="run directory, or a folder that transformers loads a model from",
    )  # fmt: skip
    parser.add_argument(
        "--attention", type=str | None, default=None,
        help="audit a small untrained model with this mechanism, or one for each layer, as in "
        f"overlap,classical: {', '.join(ATTENTION)}",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=str | None, default=None, metavar="PACKAGE.MODULE:FACTORY",
        help="import this, call it without arguments, and audit what it returns: anything that "
        "maps token ids [B, T] to logits [B, T, V]; such a module or function itself will do too",
    )  # fmt: skip
    parser.add_argument(
        "--vocab_size", type=int | None, default=None,
        help="number of tokens (from the model's configuration or first embedding)",
    )  # fmt: skip
    parser.add_argument("--sequences", type=int, default=8, help="random sequences to try (8)")
    parser.add_argument(
        "--length", type=int | None, default=None,
        help="tokens in a sequence (the context, at most 64; 32 if it is unknown)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the sequences (0)")
    parser.add_argument(
        "--require_causal", action="store_true",
        help="exit with 1 if a position sees a later one, or a row of the batch another row",
    )  # fmt: skip


def run(options: Any) -> int:
    """Audit, and print the result."""
    if sum(given is not None for given in (options.run, options.attention, options.model)) != 1:
        raise KetformerError(
            "name either a run directory or an --attention, a folder of transformers or a --model"
        )
    if options.sequences < 1 or (options.length is not None and options.length < 2):
        raise KetformerError("an audit needs at least one sequence of two tokens")
    if options.attention:
        use_one_thread()
    with Bars(True, "position", delay=1.0) as bars:
        audit = audit_causality(
            _subject(options),
            options.vocab_size,
            sequences=options.sequences,
            length=options.length,
            seed=options.seed,
            step=bars("audit"),
        )
    if options.json:
        print_json(audit.to_dict())
    else:
        print_facts(_facts(audit))
        print("", *audit.findings(), sep="\n")
    return 1 if options.require_causal and audit.leaks else 0


def _subject(options: Any) -> Any:
    if options.attention is not None:
        return options.attention
    if options.model is not None:
        return import_model(options.model)
    folder = Path(options.run)
    if options.run in ATTENTION and not folder.exists():
        raise KetformerError(f"no run directory {options.run!r}; did you mean --attention?")
    is_run = any((folder / name).exists() for name in (MANIFEST_FILE, SETTINGS_FILE))
    if (folder / "config.json").is_file() and not is_run:
        return load_model(folder)
    return open_run(folder).model


def _facts(audit: Audit) -> dict[str, Any]:
    """The numbers; a leak too small for four decimals is not printed as 0.0000."""
    names = (
        "attention", "causal", "max_future_influence", "max_past_influence", "worst", "sequences",
        "length", "perturbations", "precisions",
    )  # fmt: skip
    facts = {name: getattr(audit, name) for name in names if getattr(audit, name) is not None}
    facts["precisions"] = ", ".join(audit.precisions)
    for name, value in facts.items():
        if isinstance(value, float) and 0 < value < 1e-3:
            facts[name] = f"{value:.2g}"
    return facts
