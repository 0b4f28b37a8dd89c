"""Draw the pictures of docs/claims.md from results/reproduce-qisa.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt

from ketformer.drawing.plots import draw_forest
from ketformer.report.plots import effects_of, forest_label
from ketformer.tasks.metric import METRICS

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
_HONEST, _LEAKY = "#3949ab", "#c62828"
_CURVES = {
    "classical": ("classical", _HONEST, "-"),
    "qisa_causal": ("QISA, leak mended", _HONEST, "--"),
    "classical_transposed": ("classical with the leak", _LEAKY, "-"),
    "qisa_published": ("QISA as published", _LEAKY, "--"),
}


def draw_positions(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Loss by position in a window: as papers report it, and given only the prefix."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    titles = {
        "cross_entropy_by_position": "given the whole window",
        "prefix_cross_entropy_by_position": "given only the prefix, as in generation",
    }
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for name, (label, colour, style) in _CURVES.items():
            curve = rows[name][key]
            places = range(1, len(curve) + 1)
            axis.plot(places, curve, style, color=colour, label=label, marker=".")
        axis.set(title=title, xlabel="position in the window")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("cross entropy, nats")
    axes[0].legend(fontsize="small", loc="center")
    _save(figure, path)


def draw_differences(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Each causal row's loss against classical attention, seed by seed, with its interval."""
    name = "prefix_cross_entropy"
    shown = [row for row in rows.values() if row["causal"]]
    ((reference, effects),) = effects_of(shown, name).items()
    draw_forest(effects, forest_label(METRICS[name], reference), path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    result = json.loads((ROOT / "results" / "reproduce-qisa.json").read_text())
    named = {row["name"]: row for row in result["rows"]}
    draw_positions(named, PICTURES / "claims-positions.png")
    draw_differences(named, PICTURES / "claims-forest.png")
