"""Drawings of circuits, as text and as pictures, made by Qiskit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ketformer.errors import KetformerError
from ketformer.quantum.backends._packages import require_package
from ketformer.quantum.backends.qiskit import to_qiskit
from ketformer.quantum.circuit import Circuit

_DPI = 120
_HIGHEST = 30_000  # pixels, of a PNG; viewers refuse more, and memory runs out
# Said here because a user's own settings of Qiskit could say otherwise.
_LOOK: dict[str, Any] = {"idle_wires": True, "reverse_bits": False, "initial_state": False}


def draw_text(circuit: Circuit, width: int = 100) -> str:
    """The circuit in characters, qubit 0 on top.

    Args:
        circuit: any circuit; free angles are shown by name.
        width: characters in a line, at which longer circuits are continued below. A gate
            whose label is longer than that still stands in one piece.

    Returns:
        The lines, without the last line break.

    Raises:
        KetformerError: Qiskit is missing, or the width is not positive.
    """
    if width < 1:
        raise KetformerError(f"a drawing must be at least one character wide, got {width}")
    drawing = to_qiskit(circuit).draw("text", fold=width, **_LOOK)
    return "\n".join(line.rstrip() for line in str(drawing).splitlines())


def draw_picture(circuit: Circuit, path: str | Path, columns: int = 20) -> Path:
    """Draw the circuit, qubit 0 on top, as PNG or SVG by the suffix, and return the path.

    Args:
        circuit: any circuit; free angles are shown by name, what stands between two dollar
            signs as a formula.
        path: of the picture; its folder is made.
        columns: gates side by side, after which longer circuits are continued below. A gate
            with a long label takes several.

    Raises:
        KetformerError: Qiskit is missing, the picture is neither PNG nor SVG, a number of
            columns below 2, a circuit too long for a PNG, or a name that is a wrong formula.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise KetformerError(f"{str(path)!r}: a picture's name ends in .png or .svg")
    if columns < 2:
        raise KetformerError(f"a picture must have at least two columns, got {columns}")
    converted = to_qiskit(circuit)
    require_package("pylatexenc", "qiskit")

    # Qiskit draws on pyplot's figures, which must be closed or they pile up.
    from matplotlib import pyplot as plt

    figure = converted.draw("mpl", fold=columns, **_LOOK)
    try:
        content = _rendered(figure, kind, columns)
    finally:
        plt.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _rendered(figure: Any, kind: str, columns: int) -> bytes:
    height = figure.get_size_inches()[1] * _DPI
    if kind == "png" and height > _HIGHEST:
        raise KetformerError(
            f"the picture would be {height:,.0f} pixels high: write it as SVG, or ask for "
            f"more than {columns} columns"
        )
    content = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    try:
        figure.savefig(content, format=kind, dpi=_DPI, bbox_inches="tight", metadata=metadata)
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1]
        raise KetformerError(f"a name in the circuit is no formula: {reason}") from error
    return content.getvalue()
