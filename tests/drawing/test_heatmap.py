"""The picture of attention holds its numbers."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ketformer.drawing.heatmap import heat_map

TOKENS = ["a", " ", "<b>"]
WEIGHTS = np.array([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.3, 0.2]])
SVG = "{http://www.w3.org/2000/svg}"


def cells(svg):
    """Row and column of each cell with its number, colour and strength."""
    found = {}
    for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            said = re.fullmatch(r".+ at (\d+) takes from .+ at (\d+): (\S+)", title.text)
            place, value = (int(said[1]), int(said[2])), float(said[3])
            found[place] = value, rect.get("fill"), float(rect.get("fill-opacity"))
    return found


def test_each_cell_says_its_weight_and_the_future_is_blank():
    found = cells(heat_map(TOKENS, WEIGHTS, "weights"))
    assert {place: value for place, (value, *_) in found.items()} == {
        (0, 0): 1.0, (1, 0): 0.25, (1, 1): 0.75, (2, 0): 0.5, (2, 1): 0.3, (2, 2): 0.2,
    }  # fmt: skip
    assert len({colour for _, colour, _ in found.values()}) == 1
    strengths = sorted((value, strength) for value, _, strength in found.values())
    assert [s for _, s in strengths] == sorted({s for _, s in strengths})


def test_weight_on_the_future_is_shown_in_another_colour():
    leaky = WEIGHTS.T
    found = cells(heat_map(TOKENS, leaky, "leak"))
    assert found[0, 2][0] == 0.5
    assert found[0, 2][1] != found[0, 0][1]


def test_differences_have_a_sign_and_a_colour_for_it():
    differences = np.array([[0, 0, 0], [-0.2, 0.2, 0], [0, 0.1, -0.1]])
    found = cells(heat_map(TOKENS, differences, "", signed=True))
    assert found[1, 0][0] == -0.2
    assert found[1, 1][0] == 0.2
    assert found[1, 0][1] == found[2, 2][1] != found[1, 1][1] == found[2, 1][1]
    assert found[1, 0][2] == found[1, 1][2] == 1.0


@pytest.mark.parametrize("top", [1.0, 2.0])
def test_pictures_with_one_scale_can_be_compared(top):
    strength = cells(heat_map(TOKENS, WEIGHTS, "w", top=top))[0, 0][2]
    assert (strength == 1.0) is (top == 1.0)


def test_tokens_are_text_and_not_markup():
    svg = heat_map(TOKENS, WEIGHTS, "<weights>")
    words = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert words.count("<b>") == 2
    assert words.count("␣") == 2
    assert "<weights>" in words
