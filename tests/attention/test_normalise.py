"""How a row of scores becomes weights: softmax, row sum, L2 norm; and the row sum in O(T)."""

import pytest
import torch

from ketformer.attention import ATTENTION, InputSizes, attention_mask, build_attention, mixing
from ketformer.attention._trials import Case, GrowingCache
from ketformer.attention.classical import ClassicalAttention
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.utils.conformance import all_alike

from .helpers import assert_equal_to, build, tokens


class Positive(ClassicalAttention):
    """Queries and keys without a negative entry."""

    default_normalise = "sum"
    dot_is_positive = True

    def project(self, hidden_states, tokens=None):
        queries, keys, values = super().project(hidden_states, tokens)
        return queries.square(), keys.square(), values


class Wide(Positive):
    """The least sum is so large that it is what most rows are divided by."""

    least_sum = 10.0


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(ATTENTION, "_registered", {})
    ATTENTION.register("positive", Positive)
    ATTENTION.register("wide", Wide)


def sizes(positions):
    return InputSizes(vocab_size=11, max_positions=128, positions=positions)


@pytest.mark.parametrize("check", [c for c in CONFORMANCE if c.name != "compiled"], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("positive", {}),
        ("positive", {"inputs": sizes("alibi")}),
        ("classical", {"normalise": "l2"}),
        ("qisa", {"normalise": "sum", "score": "double_exponential", "mixing": "transposed"}),
    ],
)
def test_every_normalisation_does_what_it_must(registered, check, name, options):
    check(name, **options)


def test_a_row_sum_is_one_graph(registered):
    next(check for check in CONFORMANCE if check.name == "compiled")("positive")


def rows_by_hand(attention, hidden_states):
    """Queries times keys of each row, and the values, ``[H, T, …]``."""
    queries, keys, values = (part[0] for part in attention.project(hidden_states))
    return queries @ keys.mT, values


@pytest.mark.parametrize("cls", [Positive, Wide])
def test_a_row_sum_is_what_the_formula_says(cls):
    attention = cls(12, 3).double().eval()
    hidden_states = tokens(1, 7, 12).double()
    scores, values = rows_by_hand(attention, hidden_states)
    by_hand = torch.zeros_like(scores)
    for head in range(3):
        for i in range(7):
            row = scores[head, i, : i + 1]
            by_hand[head, i, : i + 1] = row / max(float(row.sum().detach()), attention.least_sum)
    output, weights = attention(hidden_states, return_weights=True)
    assert_equal_to(1e-12, weights[0], by_hand)
    assert_equal_to(1e-12, output[0], attention.out_proj(torch.cat(list(by_hand @ values), -1)))
    assert (weights[0].sum(-1) < 0.9).any() == (cls is Wide)


def test_a_norm_is_what_the_formula_says():
    attention = build("classical", 12, 3, normalise="l2").double()
    hidden_states = tokens(1, 7, 12).double()
    scores = rows_by_hand(attention, hidden_states)[0].tril() / 2  # the root of the width
    expected = scores / (scores.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    assert_equal_to(1e-12, attention(hidden_states, return_weights=True)[1][0], expected)


@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
def test_the_row_sum_of_an_exponential_is_its_softmax(positions):
    """For rotary positions, too: exponentials stay positive. ALiBi is a factor, exp of its bias."""
    softmax, row_sum = (
        build("classical", 12, 3, temperature=2.0, inputs=sizes(positions), **options).double()
        for options in (
            {"score": "gaussian"},
            {"score": "double_exponential", "normalise": "sum"},
        )
    )
    hidden_states = tokens(2, 9, 12).double()
    assert_equal_to(1e-9, row_sum(hidden_states)[0], softmax(hidden_states)[0])


@pytest.mark.parametrize("name", ["positive", "wide"])
def test_prefix_sums_equal_the_quadratic_form(registered, monkeypatch, name):
    case = Case(name)
    attention = case.build(dtype=torch.float64).train()
    batch = case.batch(2, 150, dtype=torch.float64)
    called = []
    plain = mixing._mix_by_prefix_sums
    monkeypatch.setattr(
        mixing, "_mix_by_prefix_sums", lambda *given: called.append(1) or plain(*given)
    )
    fast = batch.outcome(attention)
    assert called
    slow = batch.outcome(attention, attention_mask(150, 150))  # with a mask: every pair
    assert len(called) == 1
    for key, found in fast.items():
        assert_equal_to(1e-10, found, slow[key])
    single = case.build()
    batch = batch.to(torch.float32)
    all_alike("float32", batch.outcome(single), batch.outcome(single, return_weights=True))


def test_dropped_weights_and_a_cache_take_the_quadratic_form(registered, monkeypatch):
    monkeypatch.setattr(mixing, "_mix_by_prefix_sums", None)
    case = Case("positive")
    batch = case.batch(1, 150)
    case.build(dropout=0.5).train()(batch.states)
    attention, cache = case.build(), GrowingCache()
    for part in batch.split((2, 148)):
        part.through(attention, cache=cache)


@pytest.mark.parametrize(
    ("name", "options", "error", "told"),
    [
        ("classical", {"normalise": "max"}, KetformerError, "normalise must be one of softmax"),
        ("classical", {"normalise": "sum"}, KetformerError, "scores that are never negative"),
        ("qisa", {"normalise": "sum"}, KetformerError, "gaussian scores can be"),
        ("classical", {"normalise": "l2", "temperature": 2.0}, KetformerError, "leave it at 1"),
        (
            "classical",
            {"normalise": "l2", "learnable_temperature": True},
            KetformerError,
            "divides the temperature out of dot scores",
        ),
        ("classical", {"normalise": "l2", "initial_spread": 1.0}, NotOfferedError, "of a softmax"),
        ("positive", {"inputs": sizes("rotary")}, NotOfferedError, "positions=rotary turns"),
    ],
)
def test_what_a_normalisation_cannot_take_is_refused(registered, name, options, error, told):
    with pytest.raises(error, match=told) as caught:
        build_attention(name, 12, 3, **options)
    assert "\n" not in str(caught.value)


def test_only_a_softmax_has_a_spread_of_scores(registered):
    with pytest.raises(NotOfferedError, match="normalise=sum has no spread"):
        spread_of_scores(build("positive", 12, 3))
