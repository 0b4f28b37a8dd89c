"""Circuits drawn without any package: every gate is there, and stands where it belongs."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from ketformer.attention.registry import mechanisms_with_circuits
from ketformer.circuits import circuit_pictures, circuits_of
from ketformer.drawing.circuit_svg import circuit_svg
from ketformer.quantum import Circuit, rotation_ring_ansatz

_SPACE = "{http://www.w3.org/2000/svg}"


def parts(svg, tag):
    return list(ElementTree.fromstring(svg).iter(_SPACE + tag))


def texts(svg):
    return [node.text for node in parts(svg, "text")]


def test_a_small_circuit_is_drawn_gate_by_gate():
    circuit = Circuit(2).h(0).cnot(0, 1).ry(1, "theta").ry(0, 0.5)
    svg = circuit_svg(circuit, measured=[1], label="a <bell>")
    assert texts(svg) == ["q0", "q1", "H", "RY", "theta", "RY", "0.5"]
    dot, ring = parts(svg, "circle")
    assert (dot.get("cx"), dot.get("fill")) == (ring.get("cx"), "currentColor")
    assert float(dot.get("cy")) < float(ring.get("cy"))  # control above the target
    assert len(parts(svg, "rect")) == 4  # H, two RY, one meter
    assert ElementTree.fromstring(svg).get("aria-label") == "a <bell>"


def test_factors_of_angles_are_said():
    circuit = rotation_ring_ansatz(1).then(rotation_ring_ansatz(1).inverse())
    assert texts(circuit_svg(circuit))[1:] == ["RY", "t0", "RY", "−t0"]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(120, 900))
def test_every_gate_is_inside_the_picture_and_none_lies_on_another(n_qubits, layers, width):
    circuit = rotation_ring_ansatz(n_qubits, layers)
    svg = circuit_svg(circuit, width=width)
    assert sorted(t for t in texts(svg) if t.startswith("t")) == sorted(circuit.parameters)
    _, _, wide, high = map(float, ElementTree.fromstring(svg).get("viewBox").split())
    boxes = [
        [float(box.get(key)) for key in ("x", "y", "width", "height")] for box in parts(svg, "rect")
    ]
    for x, y, w, h in boxes:
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
    for i, (x, y, w, h) in enumerate(boxes):
        for u, v, a, b in boxes[:i]:
            assert x >= u + a or u >= x + w or y >= v + b or v >= y + h


def test_long_circuits_are_cut_and_say_so():
    svg = circuit_svg(rotation_ring_ansatz(3, 40), limit=60)
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
        assert "http" not in picture.svg.replace("http://www.w3.org/2000/svg", "")


def test_a_long_preparation_is_one_box():
    (picture,) = circuit_pictures("qisa_a", hidden_size=64)
    assert {"|x⟩", "125 gates", "RX"} <= set(texts(picture.svg))
    assert not any(text.startswith("amp") for text in texts(picture.svg))
