"""``ketformer train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.attention.layers import distinct, name_of
from ketformer.cli.common import Parser, print_facts, print_json
from ketformer.cli.positions import with_positions_for
from ketformer.errors import KetformerError
from ketformer.models import PRESETS
from ketformer.runs.settings import add_settings_arguments
from ketformer.utils.lazy import lazily

if TYPE_CHECKING:
    from ketformer.runs import Settings, load_settings
    from ketformer.runs.directory import SETTINGS_FILE
    from ketformer.runs.fine_tuning import settings_of_fine_tuning
    from ketformer.runs.settings_file import read_options
    from ketformer.training import train

__getattr__, __dir__, __all__ = lazily(__name__)

EXAMPLE = """  ketformer train char-small --attention qisa --data tinyshakespeare
  ketformer train char-small --attention overlap,classical --num_hidden_layers 2
  ketformer train qisa-small --data my.txt --max_steps 2000 --out runs/mine
  ketformer train --init runs/mine --data series.csv --out runs/series
  ketformer train --out runs/mine --resume
  torchrun --nproc_per_node 2 -m ketformer train char-gpt --out runs/two"""

# argparse would list every option of Trainer here.
USAGE = "ketformer train [PRESET_OR_YAML] [--out RUN] [--resume] [--json] [--key value ...]"

_OWN = {"json", "preset", "out", "resume"}


def add_arguments(parser: Parser) -> None:
    """Add the verb's options: a preset or file, and every setting in it."""
    presets = "; ".join(f"{name}: {content['description']}" for name, content in PRESETS.items())
    parser.add_argument(
        "preset", type=str | None, nargs="?", default=None,
        help=f"a preset ({presets}) or a YAML file such as a run's settings.yaml",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str | None, default=None, help="run directory (runs/PRESET-ATTENTION-seedN)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume from the last checkpoint in --out"
    )
    add_settings_arguments(parser)


def run(options: Any) -> int:
    """Train and print a summary."""
    given = {k: v for k, v in options.as_dict().items() if k not in _OWN}
    settings, out = _settings_and_out(options, given)
    first = os.environ.get("RANK", "0") == "0"
    summary = train(settings, out, resume=options.resume, progress=first)
    if first and options.json:
        print_json(summary)
    elif first:
        facts = dict(summary)
        if "stopped_early" in facts:  # either is fine
            facts["stopped_early"] = "yes" if facts["stopped_early"] else "no"
        print_facts(facts)
        print(f"\nnext: ketformer evaluate {out}")
    return 0


def _settings_and_out(options: Any, given: dict[str, Any]) -> tuple[Settings, Path]:
    out = Path(options.out) if options.out else None
    saved = (
        out / SETTINGS_FILE if out and options.resume and (out / SETTINGS_FILE).is_file() else None
    )
    if saved:
        settings = load_settings(str(saved))
        if options.preset and load_settings(options.preset).name != settings.name:
            raise KetformerError(f"{out} was made from {settings.name}, not {options.preset}")
        if options.preset and options.preset not in PRESETS:
            given = {**read_options(options.preset), **given}  # the file may have been edited
    elif options.preset:
        settings = load_settings(options.preset)
    elif given.get("init"):
        settings = settings_of_fine_tuning(given["init"], given)
    else:
        raise KetformerError(
            f"name a preset ({', '.join(PRESETS)}), a YAML file, or a run to --init from"
        )
    settings = settings.override(given)
    if "positions" not in given and options.preset in PRESETS and not saved:
        settings = with_positions_for(distinct(settings.attention), settings)
    if out is None:
        seed = settings.training.get("seed", 42)
        if settings.init and not options.preset:
            return settings, Path("runs") / f"{Path(settings.init).name}-tuned-seed{seed}"
        out = Path("runs") / f"{settings.name}-{name_of(settings.attention)}-seed{seed}"
    return settings, out
