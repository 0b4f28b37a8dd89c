"""Drawings of circuits: a picture for files and pages, and text drawn by Qiskit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketformer.drawing.circuit_layout import (
    BOX,
    MARGIN,
    METER,
    WIRE,
    Item,
    Layout,
    angle_text,
    experiment_layout,
    layout,
    measured_axes,
)
from ketformer.drawing.figure import inline_svg, save_figure
from ketformer.errors import KetformerError
from ketformer.quantum.circuit import Angle, Circuit
from ketformer.quantum.experiment import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {
    "RX": "#9a3fb5", "RY": "#1f62c8", "RZ": "#0b7a75", "P": "#0b7a75",
    "RXX": "#9a3fb5", "RYY": "#1f62c8", "RZZ": "#0b7a75",
}  # fmt: skip
_PLAIN = "#56606b"
# The strokes of a plus and of a times sign, from the middle.
_PLUS = (((-1, 1), (0, 0)), ((0, 0), (-1, 1)))
_TIMES = (((-1, 1), (-1, 1)), ((-1, 1), (1, -1)))


def circuit_figure(drawn: Layout) -> Figure:
    """The picture as a figure; lines and letters outside the gates use the text colour."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawn.width / 72, drawn.height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawn.width), ylim=(drawn.height, 0))
    axes.axis("off")
    ink = matplotlib.rcParams["text.color"]
    for top in drawn.lines:
        heights = [top + qubit * WIRE for qubit in range(len(drawn.labels))]
        axes.hlines(heights, drawn.start - 6, drawn.width - MARGIN, ink, lw=0.8, alpha=0.55)
        for label, y in zip(drawn.labels, heights, strict=True):
            _write(axes, MARGIN - 2, y, label, 10, ha="left")
    for item, x, y in drawn.placed:
        _draw_item(axes, item, x, y, ink)
    return figure


def circuit_svg(drawn: Layout, label: str = "") -> str:
    """The picture as an ``<svg>`` element for a page, light or dark.

    Args:
        drawn: the result of :func:`layout`.
        label: description of the drawing, for screen readers.
    """
    svg = inline_svg(lambda: circuit_figure(drawn), label)
    return svg.replace('pt"', 'px"', 2)  # width and height: a web page has less room than paper


def draw_picture(subject: Circuit | Experiment, path: str | Path, width: int = 1000) -> Path:
    """Draw a circuit, qubit 0 on top, as PNG, SVG or PDF, and return the path.

    Args:
        subject: a circuit, drawn whole; or an experiment, drawn as in reports with its registers
            and measurement. Free angles are shown by name.
        path: the picture to write, of the kind that its suffix says; its folder is created.
        width: width in points; longer circuits continue on the next line.

    Raises:
        KetformerError: another suffix, or the circuit is too long for a PNG.
    """

    def figure() -> Figure:
        if isinstance(subject, Circuit):
            return circuit_figure(layout(subject, width=width))
        return circuit_figure(experiment_layout(subject, width=width))

    return save_figure(figure, path)


def draw_text(subject: Circuit | Experiment, width: int = 100) -> str:
    """The whole circuit as text, drawn by Qiskit, with qubit 0 on top.

    Args:
        subject: a circuit, or an experiment with its registers and measurement. Free angles are
            shown by name.
        width: characters per line; longer circuits continue below. A gate whose label is
            longer than that is not broken.

    Returns:
        The lines, without the last line break.

    Raises:
        KetformerError: Qiskit is missing, or the width is not positive.
    """
    from ketformer.quantum.backends.qiskit import to_qiskit

    if width < 1:
        raise KetformerError(f"a drawing must be at least one character wide, got {width}")
    if isinstance(subject, Circuit):
        drawn = to_qiskit(_with_written_angles(subject))
    else:
        drawn = _with_registers(to_qiskit(_with_written_angles(subject.circuit)), subject)
    # Set explicitly, because the user's Qiskit settings could differ.
    look: dict[str, Any] = {"idle_wires": True, "reverse_bits": False, "initial_state": False}
    drawing = drawn.draw("text", fold=width, **look)
    return "\n".join(line.rstrip() for line in str(drawing).splitlines())


def _with_written_angles(circuit: Circuit) -> Circuit:
    """The circuit with each angle's text as its name, so that pictures and text say the same."""
    gates = (replace(g, angle=g.angle and Angle(angle_text(g.angle))) for g in circuit.gates)
    return Circuit(circuit.n_qubits, tuple(gates))


def _with_registers(circuit: Any, experiment: Experiment) -> Any:
    """Qiskit's circuit with our registers, and a measurement of each qubit that has one."""
    from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

    registers = experiment.registers or (("q", experiment.circuit.n_qubits),)
    named = [QuantumRegister(size, name) for name, size in registers]
    measured = sorted(measured_axes(experiment))
    out = QuantumCircuit(*named, ClassicalRegister(len(measured), "outcome"))
    out.compose(circuit, inplace=True)
    out.measure(measured, range(len(measured)))
    return out


def _draw_item(axes: Any, item: Item, x: float, y: float, ink: str) -> None:
    from matplotlib.patches import Circle

    def height(wire: int) -> float:
        return y + (wire - item.target) * WIRE

    for other in (*item.controls, *item.targets[1:]):
        axes.plot([x, x], [height(other), y], color=ink, lw=1, zorder=2)
    for control in item.controls:
        axes.add_patch(Circle((x, height(control)), 3.5, color=ink, zorder=3))
    for target in item.targets:
        if item.name == "SWAP":
            _strokes(axes, _TIMES, x, height(target), 5, ink)
        elif item.is_sign:
            axes.add_patch(Circle((x, y), 7, fill=False, ec=ink, zorder=3))
            _strokes(axes, _PLUS, x, y, 7, ink)
        else:
            _draw_box(axes, item, x, height(target))


def _strokes(axes: Any, sign: Any, x: float, y: float, size: float, ink: str) -> None:
    for across, down in sign:
        ends = [x + size * step for step in across], [y + size * step for step in down]
        axes.plot(*ends, color=ink, lw=1, zorder=3)


def _draw_box(axes: Any, item: Item, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    high = BOX + (item.height - 1) * WIRE
    corner, colour = (x - item.width / 2, y - BOX / 2), _COLOURS.get(item.name, _PLAIN)
    style = "round,pad=0,rounding_size=4"
    axes.add_patch(
        FancyBboxPatch(corner, item.width, high, boxstyle=style, fc=colour, ec="none", zorder=4)
    )
    middle = y - BOX / 2 + high / 2
    if item.name == METER:
        _draw_meter(axes, item, x, y)
    elif item.below:
        _write(axes, x, middle - 4.5, item.name, 10, color="white")
        _write(axes, x, middle + 5.5, item.below, 8, color="white")
    else:
        _write(axes, x, middle, item.name, 11, color="white")


def _draw_meter(axes: Any, item: Item, x: float, y: float) -> None:
    """The dial, and beneath it the axes that are measured."""
    from matplotlib.patches import Arc

    axes.add_patch(Arc((x, y), 14, 12, theta1=180, theta2=360, ec="white", zorder=5))
    axes.plot([x, x + 5], [y, y - 8], color="white", lw=1, zorder=5)
    _write(axes, x, y + 6, item.below, 8, color="white")


def _write(axes: Any, x: float, y: float, words: str, size: float, **more: Any) -> None:
    look = {"ha": "center", "va": "center_baseline", "family": "monospace", "parse_math": False}
    axes.text(x, y, words, fontsize=size, zorder=6, **{**look, **more})
