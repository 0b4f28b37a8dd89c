"""``reproduce tensorized``: the leak of the Tensorized Transformer, on tokens without structure.

Uniformly random tokens cannot be predicted: no honest model has a cross entropy below ln V. What
falls below it has read the token that it should predict.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketformer.comparison import Variant, run_variants
from ketformer.comparison.tables import Columns
from ketformer.comparison.variants import chosen_rows
from ketformer.drawing.plots import draw_curves
from ketformer.reproduction.rows import TENSORIZED_ROWS
from ketformer.runs import Settings, load_settings, read_metrics
from ketformer.runs.directory import make_manifest
from ketformer.utils.files import write_json, write_text
from ketformer.utils.locks import alone_in_out

#: The tokens, of which every one is as likely as any other at every position.
LETTERS = string.ascii_lowercase + "012345"
#: The least cross entropy that an honest model can have, in nats per token.
HONEST = math.log(len(LETTERS))

_LENGTH = 300_000  # characters
_CONTEXT = 8
_SETTINGS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,  # as in every released script
    "max_position_embeddings": _CONTEXT,
    "positions": "learned",
    "max_steps": 600,
    "learning_rate": 1e-2,
    "warmup_steps": 30,
    "per_device_train_batch_size": 64,
}
#: Points of each curve.
_POINTS = 12
#: Name of the picture in the folder.
PICTURE = "loss.svg"
_COLUMNS: Columns = (
    ("attention", "name"),
    ("what it is", "role"),
    ("parameters", "parameters"),
    ("causal", "causal"),
    ("loss", "cross_entropy"),
    ("prefix only", "prefix_cross_entropy"),
)


@alone_in_out
def reproduce_tensorized(
    out: str | Path,
    *,
    seeds: int = 1,
    rows: Sequence[str] | None = None,
    changes: dict[str, Any] | None = None,
    processes: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the released layer, its masked twin and classical attention on random tokens.

    Args:
        out: folder for the text, the runs, ``reproduction.json`` and ``loss.svg``; finished runs
            in it are kept.
        seeds: number of seeds for each row.
        rows: names of rows, all by default; for a subset only the runs are saved.
        changes: settings to change, e.g. fewer steps.
        processes: how many runs at once; by default one, or on a cluster as many as it has cores or
            GPUs.
        cluster: address of a Ray cluster to run on, or ``auto`` for this machine's.
        progress: show a table on standard error.

    Returns:
        The rows of a comparison, each with its ``role``; ``ln_vocabulary``, below which no honest
        model can be, in nats per token; ``context``, the length of the sequences.

    Raises:
        KetformerError: a row is unknown, or another process is using the folder.
    """
    chosen = chosen_rows(rows, [name for name, _ in TENSORIZED_ROWS])
    out = Path(out)
    text = out / "random-tokens.txt"
    write_text(text, "".join(random.Random(0).choices(LETTERS, k=_LENGTH)))
    settings: Settings = load_settings("char-small").override(
        {"data": str(text), **_SETTINGS, **(changes or {})}
    )
    settings = settings.override({"eval_steps": max(settings.training["max_steps"] // _POINTS, 1)})
    first = settings.training.get("seed", 42)
    result = run_variants(
        [Variant(name, {"attention": name}) for name, _ in TENSORIZED_ROWS if name in chosen],
        settings,
        out,
        range(first, first + seeds),
        processes=processes,
        cluster=cluster,
        progress=progress,
    )
    for row in result["rows"]:
        row["role"] = dict(TENSORIZED_ROWS)[row["name"]]
    result = {
        "paper": "arXiv 1906.09777",
        "ln_vocabulary": HONEST,
        "context": _CONTEXT,
        "manifest": make_manifest(),
        **result,
        "columns": _COLUMNS,
        "notes": [verdict(result), *result["notes"]],
    }
    if rows is None:
        write_json(out / "reproduction.json", result)
        _draw(result, out)
    return result


def verdict(result: dict[str, Any]) -> str:
    """What the rows say, in words; every number comes from the result."""
    losses = ", ".join(
        f"{row['name']} {row['cross_entropy']['mean']:.3f} "
        f"({row['prefix_cross_entropy']['mean']:.3f} with the prefix alone)"
        for row in result["rows"]
    )
    return (
        f"The tokens are random and all {len(LETTERS)} equally likely, so an honest model cannot "
        f"be below ln {len(LETTERS)} = {HONEST:.3f}, and a layer that sees all of a window of "
        f"{_CONTEXT} but the last target can reach {HONEST / _CONTEXT:.3f}. Measured: {losses}."
    )


def _draw(result: dict[str, Any], out: Path) -> None:
    """The validation losses while training, and ln V."""
    lines: dict[str, list[list[tuple[float, float]]]] = {}
    for row in result["rows"]:
        metrics = [read_metrics(out / f"{row['name']}-seed{seed}") for seed in result["seeds"]]
        lines[row["name"]] = [
            [(point["step"], point["eval_loss"]) for point in points if "eval_loss" in point]
            for points in metrics
        ]
    honest = f"ln {len(LETTERS)}"
    last = max(step for points in lines.values() for curve in points for step, _ in curve)
    styles = {
        row["name"]: {"linestyle": "-" if row["causal"] else "--", "color": f"C{number}"}
        for number, row in enumerate(result["rows"])
    }
    draw_curves(
        {**lines, honest: [[(0, HONEST), (last, HONEST)]]},
        {**styles, honest: {"linestyle": ":", "color": "#7d8590"}},
        "validation loss, nats per token",
        out / PICTURE,
    )
