"""Drawings show every qubit and gate in the right place, wrap, and have the right file type."""

import math
import re
import sys
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, strategies as st
from matplotlib import image, pyplot as plt

from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.circuits import circuit_pictures, circuits_of
from ketformer.cli import main
from ketformer.drawing.circuit import circuit_svg, draw_picture, draw_text
from ketformer.drawing.circuit_layout import angle_text, experiment_layout, layout
from ketformer.errors import KetformerError
from ketformer.quantum import (
    Angle,
    Circuit,
    Experiment,
    PauliStrings,
    amplitude_preparation,
    angle_encoding,
    entangling_ansatz,
    rotation_ring_ansatz,
)

SMALL = Circuit(3).h(0).rx(1, "turn").ry(2, 0.5).rz(0, "b").x(1).y(1).z(2).cnot(0, 2)
LONG = entangling_ansatz(4, layers=6)
_SPACE = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter(f"{_SPACE}text")]


# --- Text --------------------------------------------------------------------------------------


def test_text_by_hand():
    lines = draw_text(Circuit(2).h(0).cnot(0, 1).ry(1, "a")).splitlines()
    assert lines == [
        "     ┌───┐",
        "q_0: ┤ H ├──■───────────",
        "     └───┘┌─┴─┐┌───────┐",
        "q_1: ─────┤ X ├┤ Ry(a) ├",
        "          └───┘└───────┘",
    ]


def test_text_has_every_qubit_and_gate():
    text = draw_text(SMALL)
    starts = [line[:4] for line in text.splitlines()]
    assert [start for start in starts if start.strip()] == ["q_0:", "q_1:", "q_2:"]
    for label in ("┤ H ├", "Rx(turn)", "Ry(0.5)", "Rz(b)", "┤ X ├", "┤ Y ├", "┤ Z ├", "■"):
        assert label in text


def test_qubits_without_gates_are_drawn_too():
    assert "q_2: " in draw_text(Circuit(3).h(0))
    assert texts(circuit_svg(layout(Circuit(3).h(0)))) == ["q0", "q1", "q2", "H"]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_long_texts_are_continued_below(width):
    lines = draw_text(LONG, width).splitlines()
    assert max(map(len, lines)) <= width
    pieces = sum("q_0:" in line for line in lines)
    assert pieces > 1
    text = "\n".join(lines)
    assert all(f"({name})" in text for name in LONG.parameters)
    assert text.count("q_3:") == pieces


def test_a_hundred_columns_unless_told_otherwise():
    assert draw_text(LONG) == draw_text(LONG, 100)


@pytest.mark.parametrize("width", [0, -1])
def test_a_width_that_is_none(width):
    with pytest.raises(KetformerError, match="at least one character wide"):
        draw_text(SMALL, width)


def test_without_qiskit_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "qiskit", None)
    with pytest.raises(KetformerError, match=r"needs Qiskit: pip install 'ketformer\[qiskit\]'"):
        draw_text(SMALL)
    assert draw_picture(SMALL, tmp_path / "small.svg").is_file()


# --- Where everything stands -------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 4), st.integers(120, 900))
def test_every_gate_is_inside_the_picture_and_none_lies_on_another(n_qubits, layers, width):
    circuit = rotation_ring_ansatz(n_qubits, layers)
    drawn = layout(circuit, width=width)
    assert len(drawn.placed) == len(circuit.gates)
    boxes = drawn.boxes()
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= drawn.width
        assert y + h <= drawn.height
    for i, (x, y, w, h) in enumerate(boxes):
        for u, v, a, b in boxes[:i]:
            assert x >= u + a or u >= x + w or y >= v + b or v >= y + h


def test_long_circuits_grow_downwards():
    few, many = (layout(LONG, width=width) for width in (200, 1000))
    assert few.height > 2 * many.height
    assert few.width < many.width


def test_gates_stand_on_their_wires_and_in_their_order():
    drawn = layout(Circuit(2).h(0).cnot(0, 1).ry(1, "theta").ry(0, 0.5), measured={1: "Z"})
    places = {(item.name, item.target): (x, y) for item, x, y in drawn.placed}
    (top,), wire = drawn.lines, 28
    assert {y for (_, target), (_, y) in places.items() if target == 0} == {top}
    assert {y for (_, target), (_, y) in places.items() if target == 1} == {top + wire}
    ordered = [("H", 0), ("X", 1), ("RY", 1), ("meter", 1)]
    assert sorted(ordered, key=lambda gate: places[gate][0]) == ordered
    assert places["RY", 0][0] == places["RY", 1][0]


# --- Pictures for a page -----------------------------------------------------------------------


def test_a_small_circuit_is_drawn_gate_by_gate():
    circuit = Circuit(2).h(0).cnot(0, 1).ry(1, "theta").ry(0, 0.5)
    svg = circuit_svg(layout(circuit, measured={1: "Z"}), "a <bell>")
    assert texts(svg) == ["q0", "q1", "H", "RY", "theta", "RY", "0.5", "Z"]
    assert ElementTree.fromstring(svg).get("aria-label") == "a <bell>"
    assert "currentColor" in svg


def test_factors_of_angles_are_said():
    circuit = rotation_ring_ansatz(1).then(rotation_ring_ansatz(1).inverse())
    assert texts(circuit_svg(layout(circuit)))[1:] == ["RY", "t0", "RY", "−t0"]


@pytest.mark.parametrize(
    ("angle", "text"),
    [
        (Angle("θ"), "θ"), (Angle("θ", -1), "−θ"), (Angle("θ", 0.5), "θ/2"),
        (Angle("θ", 2, math.pi / 2), "2·θ+π/2"), (Angle("θ", 1, -3 * math.pi / 4), "θ−3π/4"),
        (Angle("θ", -0.5, 0.3), "−θ/2+0.3"), (Angle("θ", 0), "0·θ"), (Angle(math.pi), "π"),
        (Angle(-math.pi / 3), "−π/3"), (Angle(0.785), "0.785"), (Angle(2, -1.5), "−3"),
        (Angle(0.0), "0"),
    ],
)  # fmt: skip
def test_angles_are_written_as_one_reads_them(angle, text):
    assert angle_text(angle) == text


def test_gates_on_two_targets():
    circuit = Circuit(3).swap(0, 2).rzz(2, 1, Angle("a", 2)).sxdg(0).tdg(1)
    shown = texts(circuit_svg(layout(circuit)))
    assert shown == ["q0", "q1", "q2", "RZZ", "2·a", "RZZ", "2·a", "√X†", "T†"]
    drawn = layout(circuit)
    columns = {item.name: x for item, x, _ in drawn.placed}
    assert columns["SWAP"] < columns["RZZ"]  # it crosses wire 1
    assert len(drawn.boxes()) == 4  # two of RZZ, none of SWAP


# --- What hardware runs ------------------------------------------------------------------------

TEST = circuits_of("overlap", hidden_size=4, n_qubits=2)["score"]


def test_an_experiment_has_its_registers_and_its_measurement():
    drawn = experiment_layout(TEST)
    assert drawn.labels == ("q0", "q1", "ancilla")
    assert [(i.below, i.target) for i, _, _ in drawn.placed if i.name == "meter"] == [("Z", 2)]
    lines = draw_text(TEST).splitlines()
    names = [line.split(":")[0].strip("« ") for line in lines if ":" in line]
    assert list(dict.fromkeys(names)) == ["q_0", "q_1", "ancilla", "outcome"]
    assert [line.split(":")[0].strip("« ") for line in lines if "┤M├" in line] == ["ancilla"]


def test_registers_of_tables_and_of_auxiliaries():
    tables = circuits_of("overlap", hidden_size=4, n_qubits=4, angles="embedding")["score"]
    expected = ("token0", "token1", "position0", "position1", "ancilla")
    assert experiment_layout(tables).labels == expected
    auxiliary = circuits_of("qasa", hidden_size=4, n_qubits=2, layers=3)["value"]
    assert experiment_layout(auxiliary).labels == ("q0", "q1", "auxiliary")


def test_all_axes_of_a_qubit_are_named():
    strings = PauliStrings(("XI", "ZI", "YI"))
    asked = Experiment(Circuit(2).ry(0, "a"), torch.zeros(1), strings)
    assert texts(circuit_svg(experiment_layout(asked))) == ["q0", "q1", "RY", "a", "XYZ"]


@pytest.mark.parametrize("name", ["overlap", "qisa_a"])
def test_the_commands_drawing_is_the_reports(name, tmp_path):
    (picture,) = circuit_pictures(name, hidden_size=4, width=1000)
    path = tmp_path / "drawn.svg"
    assert main(["circuit", "show", name, "--hidden_size", "4", "--out", str(path)]) == 0
    assert texts(path.read_text()) == texts(picture.svg)


def test_long_circuits_are_cut_and_say_so():
    svg = circuit_svg(layout(rotation_ring_ansatz(3, 40), limit=60))
    assert {"…", "180 more"} <= set(texts(svg))
    assert len([t for t in texts(svg) if t == "RY"]) < 60


@pytest.mark.parametrize("name", mechanisms_with_circuits())
def test_the_circuits_of_a_mechanism_are_drawn_with_all_their_angles(name):
    pictures = circuit_pictures(name, hidden_size=4)
    circuits = circuits_of(name, hidden_size=4)
    assert sorted(", ".join(p.name for p in pictures).split(", ")) == sorted(circuits)
    for picture in pictures:
        circuit = circuits[picture.name.split(", ")[0]].circuit
        shown = {re.sub(r"^−|/\d+$", "", text) for text in texts(picture.svg)}
        assert set(circuit.parameters) <= shown
        assert f"{len(circuit.parameters)} angles" in picture.caption
        assert "href" not in picture.svg.replace('xlink:href="#', "")


def test_a_long_preparation_is_one_box():
    (picture,) = circuit_pictures("qisa_a", hidden_size=64)
    assert {"|x⟩", "125 gates", "RX"} <= set(texts(picture.svg))
    assert not any(text.startswith("amp") for text in texts(picture.svg))


# --- Files -------------------------------------------------------------------------------------


def test_a_png_is_an_image_with_the_gates_colours(tmp_path):
    path = draw_picture(SMALL, tmp_path / "new" / "small.png")
    pixels = image.imread(path)
    height, width, _ = pixels.shape
    assert width > height > 150
    colours = {tuple(c) for c in (pixels[..., :3] * 255).round().astype(int).reshape(-1, 3)}
    assert {(255, 255, 255), (0x1F, 0x62, 0xC8), (0x9A, 0x3F, 0xB5)} <= colours  # RY and RX


def test_an_svg_names_every_qubit_and_gate_and_is_the_same_again(tmp_path):
    path = draw_picture(SMALL, str(tmp_path / "small.SVG"))
    shown = texts(path.read_text())
    assert set(shown) >= {"H", "X", "Y", "Z", "turn", "0.5", "b", "q0", "q1", "q2"}
    assert draw_picture(SMALL, tmp_path / "again.svg").read_bytes() == path.read_bytes()


def test_every_gate_of_a_long_circuit_is_in_its_file(tmp_path):
    circuit = angle_encoding(24, 3)
    shown = texts(draw_picture(circuit, tmp_path / "long.svg").read_text())
    assert set(shown) >= set(circuit.parameters)


def test_too_long_for_a_png(tmp_path):
    with pytest.raises(KetformerError, match=r"pixels high; use a name that ends in \.svg"):
        draw_picture(amplitude_preparation(7), tmp_path / "large.png", width=60)
    assert not list(tmp_path.iterdir())


def test_no_figure_stays_open(tmp_path):
    mine = plt.figure()
    draw_picture(SMALL, tmp_path / "small.png")
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


@pytest.mark.parametrize(
    "name", ["$\\theta$", "$\\nothing$", "$", "a$b", "x[0]", "a_b^c", "\\frac", "", "θ", "<b>"]
)
def test_any_name_can_be_drawn(tmp_path, name):
    circuit = Circuit(1).ry(0, name)
    assert draw_text(circuit)
    assert name in texts(draw_picture(circuit, tmp_path / "name.svg").read_text()) or not name


@pytest.mark.parametrize("name", ["picture", "picture.jpg", ".png"])
def test_no_picture(tmp_path, name):
    with pytest.raises(
        KetformerError, match=r"the name of a picture must end in \.pdf, \.png or \.svg"
    ):
        draw_picture(SMALL, tmp_path / name)
