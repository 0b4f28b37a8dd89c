"""The mechanisms of a model's layers, and what is given for each of them, in every spelling."""

import pytest
from hypothesis import given, strategies as st

from ketformer.attention import ATTENTION
from ketformer.attention.layers import (
    as_given,
    by_name,
    distinct,
    each_layer,
    is_hybrid,
    name_of,
    nested,
    options_by_name,
    parse_mechanisms,
)

names = st.sampled_from(list(ATTENTION))
mechanisms = names | st.lists(names, min_size=2, max_size=6)


@given(mechanisms, st.sampled_from([",", "+", ", ", " + "]))
def test_what_is_spelled_is_read_again(found, separator):
    spelled = found if isinstance(found, str) else separator.join(found)
    assert parse_mechanisms(spelled) == found
    assert parse_mechanisms(found) == found
    assert parse_mechanisms(name_of(found)) == found


@pytest.mark.parametrize("text", ["overlap", "", "a b", "überlapp"])
def test_a_text_without_a_separator_is_one_name(text):
    assert parse_mechanisms(text) == text
    assert not is_hybrid(text)


def test_an_empty_name_stays_to_be_complained_about():
    assert parse_mechanisms("overlap,") == ["overlap", ""]


@given(mechanisms, st.integers(1, 6))
def test_each_layer_has_one(found, layers):
    listed = each_layer(found, layers)
    assert is_hybrid(found) is isinstance(found, list)
    assert listed == (found if is_hybrid(found) else [found] * layers)
    assert set(distinct(found)) == set(listed)
    assert len(set(distinct(found))) == len(distinct(found))


@given(mechanisms, st.data())
def test_what_is_given_comes_back_as_it_was_given(found, data):
    options = st.dictionaries(st.sampled_from(["score", "n_qubits"]), st.integers(), min_size=1)
    some = data.draw(st.lists(st.sampled_from(distinct(found)), min_size=1, unique=True))
    named = {name: data.draw(options) for name in some}
    as_set = as_given(found, named)
    assert by_name(found, as_set) == named
    assert options_by_name(found, as_set) == {name: named.get(name, {}) for name in distinct(found)}


@given(mechanisms)
def test_nothing_given_is_nothing(found):
    assert by_name(found, None) == by_name(found, {}) == {}
    assert as_given(found, {}) is None
    assert options_by_name(found, None) == {name: {} for name in distinct(found)}


@given(st.dictionaries(names, st.dictionaries(st.sampled_from("abc"), st.integers(), min_size=1)))
def test_dotted_options_are_those_of_the_mechanism(options):
    for separator in ".:":
        flat = {
            f"{name}{separator}{key}": v for name, own in options.items() for key, v in own.items()
        }
        assert nested(flat) == options
    assert nested(options) == options


def test_a_dotted_option_adds_to_the_others_of_its_mechanism():
    given = {"overlap": {"layers": 2}, "overlap.n_qubits": 4, "qisa": {"score": "dot"}}
    assert nested(given) == {"overlap": {"layers": 2, "n_qubits": 4}, "qisa": {"score": "dot"}}
    assert given["overlap"] == {"layers": 2}
