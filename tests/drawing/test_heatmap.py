"""The heat map of attention contains its numbers."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ketformer.drawing.attention import FUTURE, PAST, draw_matrix
from ketformer.drawing.heatmap import heat_map

TOKENS = ["a", " ", "<b>"]
WEIGHTS = np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.3, 0.2]])
SVG = "{http://www.w3.org/2000/svg}"


def cells(svg):
    """The number of each cell, by row and column."""
    found = {}
    for title in ElementTree.fromstring(svg).iter(f"{SVG}title"):
        said = re.fullmatch(r".+ at (\d+) takes from .+ at (\d+): (\S+)", title.text)
        found[int(said[1]), int(said[2])] = float(said[3])
    return found


def colours(matrix, **options):
    """Red, green, blue and opacity of each cell; None where nothing is drawn."""
    axes = Figure().add_subplot()
    draw_matrix(axes, TOKENS, matrix, 8, **options)
    found = {}
    for drawn in axes.images:
        numbers = drawn.get_array()
        for place in np.ndindex(matrix.shape):
            if not np.ma.getmaskarray(numbers)[place]:
                assert place not in found
                found[place] = drawn.cmap(drawn.norm(numbers[place]))
    return found


def test_each_cell_says_its_weight_and_the_future_is_blank():
    assert cells(heat_map(TOKENS, WEIGHTS, "weights")) == {
        (0, 0): 1.0, (1, 0): 0.25, (1, 1): 0.75, (2, 0): 0.5, (2, 1): 0.3, (2, 2): 0.2,
    }  # fmt: skip
    found = colours(WEIGHTS)
    assert found.keys() == cells(heat_map(TOKENS, WEIGHTS, "weights")).keys()
    assert all(colour[:3] == pytest.approx(PAST, abs=0.01) for colour in found.values())
    strengths = [found[place][3] for place in sorted(found, key=lambda p: WEIGHTS[p])]
    assert strengths == sorted(set(strengths))


def test_each_cell_lies_over_its_part_of_the_picture():
    svg = ElementTree.fromstring(heat_map(TOKENS, WEIGHTS, "weights"))
    _, _, wide, high = map(float, svg.get("viewBox").split())
    boxes = [
        [float(box.get(key)) for key in ("x", "y", "width", "height")]
        for box in svg.iter(f"{SVG}rect")
        if box.find(f"{SVG}title") is not None
    ]
    assert len({round(w, 1) for _, _, w, _ in boxes} | {round(h, 1) for *_, h in boxes}) <= 2
    for x, y, w, h in boxes:
        assert 0 < x < x + w < wide
        assert 0 < y < y + h < high
    first, last = boxes[0], boxes[-1]
    assert last[0] - first[0] == pytest.approx(2 * first[2], abs=0.1)
    assert last[1] - first[1] == pytest.approx(2 * first[3], abs=0.1)


def test_weight_on_the_future_is_shown_in_another_colour():
    assert cells(heat_map(TOKENS, WEIGHTS.T, "leak"))[0, 2] == 0.5
    found = colours(WEIGHTS.T)
    assert found[0, 2][:3] == pytest.approx(FUTURE, abs=0.01)
    assert found[0, 0][:3] == pytest.approx(PAST, abs=0.01)


def test_differences_have_a_sign_and_a_colour_for_it():
    differences = np.array([[0, 0, 0], [-0.2, 0.2, 0], [0, 0.1, -0.1]])
    said = cells(heat_map(TOKENS, differences, "differences", signed=True))
    assert (said[1, 0], said[1, 1]) == (-0.2, 0.2)
    found = colours(differences, signed=True)
    for place in ((1, 0), (2, 2)):
        assert found[place][:3] == pytest.approx(FUTURE, abs=0.01)
    for place in ((1, 1), (2, 1)):
        assert found[place][:3] == pytest.approx(PAST, abs=0.01)
    assert found[1, 0][3] == found[1, 1][3] == 1.0


@pytest.mark.parametrize("top", [1.0, 2.0])
def test_pictures_with_one_scale_can_be_compared(top):
    assert bool(colours(WEIGHTS, top=top)[0, 0][3] == 1.0) is (top == 1.0)


def test_tokens_are_text_and_not_markup():
    svg = heat_map(TOKENS, WEIGHTS, "<weights>")
    words = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert words.count("<b>") == 2
    assert words.count("␣") == 2
    assert "<weights>" in words
