"""The generated block of docs/how-to/convert.md: losses of converted models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ketformer.comparison import paired
from ketformer.comparison.tables import cell
from ketformer.utils.markdown import markdown_table

Read = Callable[[str], dict[str, Any]]

_COLUMNS = {
    "random": "`random`",
    "distilled": "`distill`",
    "tuned_random": "`random`, fine-tuned",
    "tuned_random_longer": "`random`, fine-tuned for longer",
    "tuned": "`distill`, fine-tuned",
}


def convert_study(read: Read) -> str:
    """Losses of a converted GPT-2, from both starts, before and after fine-tuning."""
    result = read("convert")
    plan, seeds = result["plan"], len(result["seeds"])
    original, *converted = result["rows"]
    lines = [
        [
            f"`{row['name']}`",
            f"{row['parameters']:,}",
            *(cell(row, key) for key in _COLUMNS),
            _difference(row),
        ]
        for row in converted
    ]
    titles = ["to", "parameters", *_COLUMNS.values(), "`distill` - `random`, for longer"]
    largest = max(row["prefix_difference"] for row in result["rows"])
    longer = plan["fine_tuning_steps"] + plan["distillation_steps"]
    notes = (
        f"The original, with {original['parameters']:,} parameters, has {cell(original, 'loss')}, "
        f"and {cell(original, 'tuned')} after the same fine-tuning. Cross entropy on the "
        f"validation part of Tiny Shakespeare, nats per character, {seeds} "
        f"seed{'s' if seeds > 1 else ''}{' with 95 % intervals' if seeds > 1 else ''}. The GPT-2 "
        f"has {plan['blocks']} blocks of width {plan['width']} and a context of {plan['context']}; "
        f"it was trained for {plan['steps']:,} steps of {plan['batch_size']} rows. Distillation "
        f"takes {plan['distillation_steps']} steps, fine-tuning {plan['fine_tuning_steps']}, and "
        f"for longer {longer}, as many as both. No loss of a fine-tuned model differs by more than "
        f"{largest:.0e} from that with the prefix alone."
    )
    return f"{markdown_table(titles, lines)}\n{notes}\n"


def _difference(row: dict[str, Any]) -> str:
    test = paired(row["tuned"]["values"], row["tuned_random_longer"]["values"])
    half = "" if test["high"] is None else f" ± {test['high'] - test['difference']:.3f}"
    return f"{test['difference']:+.3f}{half}"
