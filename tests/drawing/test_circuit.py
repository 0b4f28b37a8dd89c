"""Drawings show every qubit and gate, wrap, and are the files that their names say."""

import sys
from xml.etree import ElementTree

import pytest
from matplotlib import image, pyplot as plt

from ketformer.drawing.circuit import draw_picture, draw_text
from ketformer.errors import KetformerError
from ketformer.quantum import Circuit, amplitude_preparation, angle_encoding, entangling_ansatz

SMALL = Circuit(3).h(0).rx(1, "turn").ry(2, 0.5).rz(0, "b").x(1).y(1).z(2).cnot(0, 2)
LONG = entangling_ansatz(4, layers=6)


def svg_texts(path):
    """What stands in the comments of a picture: matplotlib writes each text there as well."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(path, parser).getroot()
    return {e.text.strip() for e in root.iter(ElementTree.Comment)}


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


@pytest.mark.parametrize("width", [40, 60, 100])
def test_long_circuits_are_continued_below(width):
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


# --- Pictures ----------------------------------------------------------------------------------


def test_a_png_is_an_image_with_the_gates_colours(tmp_path):
    path = draw_picture(SMALL, tmp_path / "new" / "small.png")
    pixels = image.imread(path)
    height, width, _ = pixels.shape
    assert width > height > 200
    colours = {tuple(c) for c in (pixels[..., :3] * 255).round().astype(int).reshape(-1, 3)}
    assert (255, 255, 255) in colours
    assert len(colours) > 20


def test_an_svg_names_every_qubit_and_gate(tmp_path):
    path = draw_picture(SMALL, str(tmp_path / "small.SVG"))
    texts = svg_texts(path)
    assert texts >= {"H", "X", "Y", "Z", "turn", "0.5", "b"}
    assert sum("q" in text and "_" in text for text in texts) == 3


def test_long_pictures_grow_downwards(tmp_path):
    few, many = (image.imread(draw_picture(LONG, tmp_path / f"{n}.png", n)) for n in (10, 40))
    assert few.shape[0] > 2 * many.shape[0]
    assert few.shape[1] < many.shape[1]


def test_every_gate_of_a_long_circuit_is_in_its_picture(tmp_path):
    circuit = angle_encoding(24, 3)
    assert svg_texts(draw_picture(circuit, tmp_path / "long.svg")) >= set(circuit.parameters)


def test_too_long_for_a_png(tmp_path):
    message = "pixels high: write it as SVG, or ask for more than 2 columns"
    with pytest.raises(KetformerError, match=message):
        draw_picture(amplitude_preparation(6), tmp_path / "large.png", columns=2)
    assert not list(tmp_path.iterdir())
    assert not plt.get_fignums()


def test_no_figure_stays_open(tmp_path):
    mine = plt.figure()
    draw_picture(SMALL, tmp_path / "small.png")
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


@pytest.mark.parametrize("name", ["$\\theta$", "$", "a$b", "x[0]", "a_b^c", "\\frac", "", "θ"])
def test_any_name_can_be_drawn(tmp_path, name):
    circuit = Circuit(1).ry(0, name)
    assert draw_text(circuit)
    assert draw_picture(circuit, tmp_path / "name.svg").stat().st_size > 1000


def test_a_formula_that_is_none(tmp_path):
    with pytest.raises(KetformerError, match=r"is no formula: .*\\nothing"):
        draw_picture(Circuit(1).ry(0, r"$\nothing$"), tmp_path / "name.svg")
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", ["picture", "picture.jpg", ".png"])
def test_neither_png_nor_svg(tmp_path, name):
    with pytest.raises(KetformerError, match=r"a picture's name ends in \.png or \.svg"):
        draw_picture(SMALL, tmp_path / name)


def test_at_least_two_columns(tmp_path):
    with pytest.raises(KetformerError, match="at least two columns, got 1"):
        draw_picture(SMALL, tmp_path / "small.png", columns=1)


# --- Without Qiskit ----------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [draw_text, lambda c: draw_picture(c, "never.png")])
def test_without_qiskit_the_message_says_how_to_get_it(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "qiskit", None)
    with pytest.raises(KetformerError, match=r"needs Qiskit: pip install 'ketformer\[qiskit\]'"):
        draw(SMALL)


def test_without_pylatexenc_there_are_no_pictures(monkeypatch):
    monkeypatch.setitem(sys.modules, "pylatexenc", None)
    assert draw_text(SMALL)
    with pytest.raises(KetformerError, match=r"pip install 'ketformer\[qiskit\]'"):
        draw_picture(SMALL, "never.png")
