"""The verdict at the top of a page: what it says, and files that were tampered with."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.report.study import Study
from ketformer.report.verdict import verdict_section
from report_page import Page

HOSTILE = "</p></svg><script>alert(1)</script>"
VERDICT = {
    "sentence": "Gain explained by twin: m has -0.200 nats per token.",
    "answer": "explained",
    "explained_by": ["twin"],
    "attribution": [
        {"control": "twin", "reason": "the same kernel", "share": 0.95, "low": 0.8, "high": 1.1},
        {"control": "other", "reason": "no circuit", "share": -0.05, "low": -0.3, "high": 0.2},
    ],
    "plan": {"left_out": ["token_shift"]},
    "truncation": [
        {"bond_dimension": 1, "loss": 2.5},
        {"bond_dimension": 2, "loss": 2.25},
        {"n_qubits": 1, "loss": 2.75},
    ],
}


def section(found):
    return verdict_section(Study({"rows": [], "verdict": found}, Path()))


def test_sentence_shares_truncation_and_what_was_left_out_are_there():
    source = section(VERDICT)
    page = Page(source)
    text = " ".join(page.words)
    for said in (VERDICT["sentence"], "twin", "the same kernel", "token_shift", "2.2500", "2.7500"):
        assert said in text
    assert all(target.startswith("#") for target in page.fetched)


def test_without_a_gain_there_are_no_shares_and_without_a_verdict_nothing():
    shares = [{**share, "share": None} for share in VERDICT["attribution"]]
    source = section({**VERDICT, "answer": "no gain", "attribution": shares, "truncation": []})
    assert "<svg" not in source
    assert verdict_section(Study({"rows": []}, Path())) == ""


def test_text_in_the_file_is_only_text():
    hostile = copy.deepcopy(VERDICT)
    hostile["sentence"] = hostile["plan"]["left_out"][0] = HOSTILE
    hostile["attribution"][0] |= {"control": HOSTILE, "reason": HOSTILE}
    source = section(hostile)
    page = Page(source)
    assert "script" not in page.tags
    assert all(target.startswith("#") for target in page.fetched)


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {},
        {**VERDICT, "sentence": 3},
        {**VERDICT, "answer": "perhaps"},
        {**VERDICT, "attribution": None},
        {**VERDICT, "attribution": ["twin"]},
        {**VERDICT, "attribution": [{**VERDICT["attribution"][0], "low": "x"}]},
        {**VERDICT, "truncation": [{"bond_dimension": 1}]},
        {**VERDICT, "truncation": [{"loss": 2.5}, {"n_qubits": "x", "loss": 2.5}]},
        {**VERDICT, "plan": 7},
    ],
    ids=str,
)
def test_a_broken_verdict_is_one_line(broken):
    with pytest.raises(KetformerError, match="the verdict in this result is broken"):
        section(broken)


_anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(VERDICT)), _anything)
def test_any_value_anywhere_is_shown_or_refused(key, value):
    source = ""
    try:
        source = section({**VERDICT, key: value})
    except KetformerError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert all(target.startswith("#") for target in Page(source).fetched)
