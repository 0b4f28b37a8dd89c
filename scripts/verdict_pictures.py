"""Draw the pictures of docs/verdict.md and docs/leaderboard.md from results/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from verdict_blocks import SIZES

from ketformer.drawing.plots import draw_forest
from ketformer.report.plots import TWINS_LABEL, effects_of, effects_of_twins, forest_label
from ketformer.tasks.metric import METRICS

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
_LOSS = "prefix_cross_entropy"
_COLOURS = {
    "classical": "#546e7a",
    "classical:local_start=2": "#2e7d32",
    "qisa": "#ef6c00",
    "overlap": "#3949ab",
}


def draw_differences(name: str, metric: str, path: Path) -> None:
    """Each row's loss against classical attention, seed by seed, with its interval."""
    ((reference, effects),) = effects_of(_read(name)["rows"], metric).items()
    draw_forest(effects, forest_label(METRICS[metric], reference), path)


def draw_sizes(results: list[dict[str, Any]], path: Path) -> None:
    """The loss of each mechanism over the number of parameters, with its interval."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, colour in _COLOURS.items():
        rows = [next(row for row in r["rows"] if row["name"] == name) for r in results]
        losses = [row[_LOSS] for row in rows]
        axis.errorbar(
            [row["parameters"] for row in rows],
            [loss["mean"] for loss in losses],
            yerr=[loss["high"] - loss["mean"] for loss in losses],
            color=colour,
            label=name,
            marker=".",
            capsize=2,
        )
    axis.set(xscale="log", xlabel="parameters", ylabel="loss with the prefix alone (nats)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / f"results/{name}.json").read_text())
    return content


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "ketformer"
    draw_differences("mechanisms-text", _LOSS, PICTURES / "verdict-text.svg")
    draw_differences("mechanisms-qm9", "prefix_loss", PICTURES / "verdict-qm9.svg")
    draw_sizes([_read(name) for name in SIZES.values()], PICTURES / "verdict-sizes.svg")
    for task, its in _read("leaderboard")["tasks"].items():
        picture = PICTURES / f"leaderboard-{task}.svg"
        draw_forest(effects_of_twins(its["rows"]), TWINS_LABEL, picture)
