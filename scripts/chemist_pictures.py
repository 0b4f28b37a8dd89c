"""Draw the picture of docs/optimise.md from results/optimise.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parent.parent


def draw_goals(result: dict[str, Any], path: Path) -> None:
    """The mean of the best ten scores over the calls, goal by goal, with REINVENT's area."""
    rows = result["rows"]
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(2.4 * columns, 2.2 * lines), sharex=True, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis in axes.flat[len(rows) :]:
        axis.remove()
    for axis, row in zip(axes.flat, rows, strict=False):
        for curve in row["curves"]:
            axis.plot(*zip(*curve, strict=True), color="#3949ab")
        axis.axhline(row["auc_top_10"], color="#3949ab", linestyle="--", label="our area")
        axis.axhline(
            row["reinvent_auc_top_10"], color="#ef6c00", linestyle="--", label="REINVENT's area"
        )
        axis.set(title=row["goal"], ylim=(0, 1), xticks=(0, 5000, 10_000))
        axis.title.set_fontsize("small")
        axis.grid(alpha=0.3)
    figure.supxlabel("calls of the oracle", fontsize="small")
    figure.supylabel("mean of the best ten", fontsize="small")
    axes.flat[0].legend(fontsize="x-small", loc="lower right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    plt.rcParams["svg.hashsalt"] = "ketformer"
    result = json.loads((ROOT / "results/optimise.json").read_text())
    draw_goals(result, ROOT / "docs/pictures/optimise-goals.svg")
