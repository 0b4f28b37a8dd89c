"""The picture of ``ketformer circuit methods``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.drawing.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_methods(table: dict[str, Any], path: Path) -> None:
    """Plot circuits and shots over the number of tokens, as PNG, SVG or PDF.

    Args:
        table: the result of :func:`~ketformer.circuits.measurement_methods`.
        path: the picture to write.
    """
    save_figure(lambda: _methods(table), path)


def _methods(table: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    rows = table["rows"]
    sizes = list(dict.fromkeys(row["n_qubits"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(9, 0.7 + 2.8 * len(sizes)), layout="constrained")
    panels = figure.subplots(len(sizes), 2, squeeze=False, sharex=True)
    for (left, right), n in zip(panels, sizes, strict=True):
        for colour, method in enumerate(methods):
            own = [row for row in rows if (row["n_qubits"], row["method"]) == (n, method)]
            if not own:  # of several n, one may be without entanglement
                continue
            lengths = [row["length"] for row in own]
            # Without the sign only squared scores can be compared.
            signed = own[0]["keeps_sign"]
            # Ways with equally many circuits are drawn inside one another.
            style = {
                "color": f"C{colour}", "marker": "o", "label": method,
                "lw": 1 + 1.5 * (len(methods) - 1 - colour), "ms": 4 + 2 * (len(methods) - colour),
                "ls": "-" if signed else "--",
            }  # fmt: skip
            left.loglog(lengths, [row["circuits"] for row in own], **style)
            shots = [row["shots" if signed else "shots_square"] for row in own]
            right.loglog(lengths, shots, **style | {"lw": 1.5, "ms": 5})
        left.set(title=f"circuits, {n} qubits")
        right.set(title=f"shots for an error of {table['precision']:g} (dashed: of the square)")
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.grid(alpha=0.3)
        left.legend()
    for axes in panels[-1]:
        axes.set(xlabel="tokens T")
    return figure
