"""Scores, temperature, mixing and the other options, and the messages for mistakes in them."""

import math
import warnings

import pytest
import torch

from ketformer.attention import (
    InputSizes,
    attention_mask,
    attention_options,
    build_attention,
    leaks,
)
from ketformer.attention.scores import reference_scores
from ketformer.errors import KetformerError
from ketformer.utils import machine as limits

from .helpers import assert_equal_to, build, tokens

SCORES = ["dot", "gaussian", "double_exponential", "square", "absolute"]


def parameters_of(attention):
    return sum(parameter.numel() for parameter in attention.parameters())


# --- Scores, temperature and mixing, against the formulas --------------------------------------


def score_by_hand(score, query, key, temperature):
    if score in ("dot", "square", "absolute"):
        product = query @ key
        product = {"dot": product, "square": product**2, "absolute": product.abs()}[score]
        return product / (math.sqrt(len(query)) * temperature)
    gaussian = -((query - key) ** 2).sum() / temperature
    return gaussian if score == "gaussian" else gaussian.exp()


def attend_by_hand(attention, hidden_states, score, temperatures, mixing="causal"):
    """Output ``[T, d]`` and weights ``[H, T, T]``, computed pair by pair of positions."""
    queries, keys, values = (part[0] for part in attention.project(hidden_states))
    length = queries.shape[1]
    weights = torch.zeros(attention.num_heads, length, length, dtype=hidden_states.dtype)
    for head, temperature in enumerate(temperatures):
        for i in range(length):
            row = [
                score_by_hand(score, queries[head, i], keys[head, j], temperature)
                for j in range(i + 1)
            ]
            weights[head, i, : i + 1] = torch.stack(row).softmax(dim=0)
    weights = weights.mT if mixing == "transposed" else weights
    mixed = torch.cat(list(weights @ values), dim=-1)  # heads side by side
    return attention.out_proj(mixed), weights


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mixing", ["causal", "transposed"])
@pytest.mark.parametrize("name", ["classical", "qsann", "qisa", "qisa_a"])
def test_attention_is_what_the_formula_says(name, score, mixing):
    attention = build(name, 12, 3, score=score, temperature=0.7, mixing=mixing).double()
    hidden_states = tokens(1, 5, 12).double()
    expected, by_hand = attend_by_hand(attention, hidden_states, score, [0.7] * 3, mixing)
    output, weights = attention(hidden_states, return_weights=True)
    assert_equal_to(1e-12, weights[0], by_hand)
    assert_equal_to(1e-12, output[0], expected)
    assert_equal_to(1e-12, attention(hidden_states)[0][0], expected)  # the fused path, if any


def test_published_mechanisms_are_double_exponential_random_and_transposed():
    for name in ("qisa_published", "qisa_a_published"):
        attention = build(name, 12, 3).double()
        hidden_states = tokens(1, 5, 12).double()
        expected, _ = attend_by_hand(
            attention, hidden_states, "double_exponential", [1.0] * 3, "transposed"
        )
        assert_equal_to(1e-12, attention(hidden_states)[0][0], expected)
        assert any(strings.odd.any() for strings in attention.observables.strings)
    assert build("qisa_published", 12, 3).hilbert_dim == 12


@pytest.mark.parametrize("score", SCORES)
def test_a_learnable_temperature_belongs_to_a_head_and_starts_where_it_is_set(score):
    options = {"score": score, "temperature": 2.0}
    fixed = build("classical", 12, 3, **options).double()
    attention = build("classical", 12, 3, learnable_temperature=True, **options).double()
    hidden_states = tokens(1, 5, 12).double()
    assert_equal_to(1e-6, attention(hidden_states)[0], fixed(hidden_states)[0])
    attention.log_temperature.data = torch.tensor([0.5, 1.0, 3.0]).double().log()[:, None, None]
    expected, _ = attend_by_hand(attention, hidden_states, score, [0.5, 1.0, 3.0])
    output, _ = attention(hidden_states)
    assert_equal_to(1e-12, output[0], expected)
    output.square().sum().backward()
    assert (attention.log_temperature.grad.abs() > 1e-6).all()


def test_rounding_makes_no_distance_negative():
    """|q|² + |k|² - 2 q·k of two equal long vectors is a rounding error of either sign."""
    queries = 100 * tokens(1, 50, 16)
    assert (reference_scores("gaussian", queries, queries, 1.0, dot_scale=0.25) <= 0).all()


def test_double_exponential_weights_differ_by_a_factor_of_at_most_e():
    """The outer softmax sees numbers between 0 and 1, so attention stays nearly uniform."""
    far_apart = 5 * tokens(2, 8, 12).double()
    allowed = attention_mask(8, 8)[0, 0]
    spread = {}
    for score in ("double_exponential", "gaussian"):
        attention = build("qisa", 12, 3, score=score, bias=False).double()
        attention.qk_proj.weight.data = attention.qk_proj.weight.data[:12].repeat(2, 1)
        _, weights = attention(far_apart, return_weights=True)  # each token is nearest to itself
        smallest = weights.masked_fill(~allowed, torch.inf).amin(dim=-1)
        spread[score] = (weights.amax(dim=-1) / smallest).max()
    assert 2.7 < spread["double_exponential"] <= math.e * (1 + 1e-12)
    assert spread["gaussian"] > 100


# --- Masks -------------------------------------------------------------------------------------


def test_mask_is_causal_from_an_offset_and_hides_padding():
    mask = attention_mask(2, 4, offset=2, padding=torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0]]))
    assert mask.int().tolist() == [[[[1, 1, 1, 0], [1, 1, 1, 1]]], [[[0, 1, 1, 0], [0, 1, 1, 0]]]]
    assert attention_mask(2, 2).tolist() == [[[[True, False], [True, True]]]]


# --- Options of single mechanisms --------------------------------------------------------------


@pytest.mark.parametrize(("hidden_size", "num_heads"), [(16, 1), (64, 4)])
def test_hilbert_dim_sets_the_size_of_the_state_map(hidden_size, num_heads):
    sizes = (hidden_size, num_heads)
    classical = parameters_of(build("classical", *sizes))
    matched = build("qisa", *sizes, bias=False)
    assert matched.hilbert_dim == hidden_size // num_heads
    assert parameters_of(matched) == classical
    published = build("qisa", *sizes, bias=False, hilbert_dim=hidden_size)
    assert parameters_of(published) - classical == (num_heads - 1) * hidden_size**2
    assert build("qisa", *sizes, hilbert_dim=hidden_size + 1).n_qubits == published.n_qubits + 1


def test_circuits_have_three_angles_a_qubit_and_head():
    assert build("qisa_a", 24, 3).angles.shape == (3, 3 * 5)
    assert build("qsann", 24, 3).angles.shape == (3, 3, 3 * 5)
    assert build("qsann", 24, 3, encoding="angle", n_qubits=4).angles.shape == (3, 3, 3 * 4)


@pytest.mark.parametrize("name", ["classical", "qisa", "qisa_a"])
def test_bias_reaches_the_linear_maps_but_not_the_projection(name):
    without, with_bias = build(name, 12, 3, bias=False), build(name, 12, 3, bias=True)
    added = set(dict(with_bias.named_parameters())) - set(dict(without.named_parameters()))
    assert added == {"qkv_proj.bias" if name == "classical" else "qk_proj.bias"}
    assert without.out_proj.bias is not None


def test_options_are_listed_with_their_defaults():
    assert attention_options("qisa") == {
        "score": "gaussian",
        "normalise": "softmax",
        "observables": "distinct",
        "hilbert_dim": None,
        "temperature": 1.0,
        "learnable_temperature": False,
        "initial_spread": None,
        "token_shift": False,
        "mixing": "causal",
    }
    assert attention_options("qisa_published") == {}


# --- The leak is announced ---------------------------------------------------------------------


def test_a_leak_is_announced_once_for_each_mechanism(monkeypatch):
    monkeypatch.setattr(leaks, "_warned", set())
    with pytest.warns(leaks.LeakWarning, match="QISAPublished reproduces a published leak") as seen:
        assert not any(build("qisa_published", width, 3).is_causal for width in (12, 24))
    assert len(seen) == 1
    with pytest.warns(leaks.LeakWarning, match="QISAAPublished reproduces"):
        build("qisa_a_published", 12, 3)
    with pytest.warns(leaks.LeakWarning, match="ClassicalAttention reproduces"):
        build("classical", 12, 3, mixing="transposed")


def test_an_honest_mechanism_says_nothing(monkeypatch):
    monkeypatch.setattr(leaks, "_warned", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("classical", "qsann", "qisa", "qisa_a"):
            assert build(name, 12, 3).is_causal


# --- Mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes", "options", "message"),
    [
        (
            "clasical",
            (12, 3),
            {},
            r"'clasical'; did you mean 'classical'\? known: classical, classical_eq",
        ),
        ("qisa", (12, 3), {"depth": 2}, "qisa has no option depth; its options: observables, hil"),
        ("qisa_published", (12, 3), {"score": "dot"}, "no option score; its options: none"),
        ("classical", (12, 5), {}, "5 heads do not divide hidden_size 12"),
        ("classical", (12, 0), {}, "0 heads do not divide"),
        ("classical", (12, 3), {"score": "cosine"}, "score must be one of gaussian, double_exp"),
        ("classical", (12, 3), {"mixing": "both"}, "mixing must be one of causal, transposed"),
        (
            "classical",
            (12, 3),
            {"temperature": 0.0},
            "temperature must be positive and finite, got 0.0",
        ),
        (
            "classical",
            (12, 3),
            {"temperature": math.nan},
            "must be finite, got nan",
        ),
        ("qisa", (12, 3), {"observables": "all"}, "observables must be one of distinct, random"),
        ("qisa", (12, 3), {"hilbert_dim": 2}, "4 distinct observables .* 1 qubits have only 2"),
        ("qisa", (12, 3), {"hilbert_dim": 0}, "hilbert_dim must be positive, got 0"),
        ("qisa", (12, 3), {"hilbert_dim": 2**40}, "40 qubits are too many .* GiB; the limit is 16"),
        ("qsann", (12, 3), {"encoding": "basis"}, "encoding must be one of amplitude, angle"),
        ("qsann", (12, 3), {"query_observables": "x"}, "query_observables must be one of z0"),
        (
            "qsann",
            (12, 3),
            {"encoding": "angle", "n_qubits": 17},
            "17 qubits are too many .* the limit is 16",
        ),
        ("qsann", (12, 3), {"encoding": "angle", "n_qubits": 0}, "at least one qubit, got 0"),
        ("qsann", (12, 3), {"n_qubits": 7}, 'n_qubits requires encoding="angle"'),
        ("classical", (12, 3), {"temperature": math.inf}, "must be finite, got inf"),
        ("classical", (12, 3), {"dropout": 1.5}, r"dropout must lie in \[0, 1\), got 1.5"),
    ],
)
def test_a_mistake_is_one_clear_line(name, sizes, options, message):
    with pytest.raises(KetformerError, match=message) as mistake:
        build_attention(name, *sizes, **options)
    assert "\n" not in str(mistake.value)


LOOKED_UP = {"inputs": InputSizes(10**8, 4)}


@pytest.mark.parametrize(
    ("name", "sizes", "options", "message"),
    [
        ("classical", (10**9, 1), {}, r"hidden_size is too large, .* would take [\d,]+ GiB"),
        ("qisa_a", (10**9, 10**9), {}, "hidden_size is too large"),
        ("qisa", (64, 64), {"hilbert_dim": 2**14}, "hilbert_dim is too large"),
        ("classical_quadratic", (12, 3), {"hilbert_dim": 2**12}, "hilbert_dim is too large"),
        ("overlap", (512, 64), {"layers": 100}, "the map to angles is too large"),
        ("overlap", (12, 3), {"layers": 10**9}, "1,000,000,000 layers on 6 qubits are too many"),
        ("qisa_a", (12, 3), {"layers": 10**9}, "1,000,000,000 layers on 4 qubits are too many"),
        ("qsann", (12, 3), {"layers": 10**9}, "1,000,000,000 layers on 4 qubits are too many"),
        ("overlap", (12, 3), {"angles": "embedding", **LOOKED_UP}, "the table of angles is too"),
        ("classical_eq", (12, 3), {"features": "embedding", **LOOKED_UP}, "feature_width is too"),
        ("classical_eq", (12, 3), {"query_width": 10**8}, "query_width is too large"),
    ],
)
def test_what_this_machine_cannot_hold_is_refused_before_it_is_made(
    monkeypatch, name, sizes, options, message
):
    monkeypatch.setattr(limits, "machine_memory", lambda: 2**27)
    with pytest.raises(KetformerError, match=message) as mistake:
        build_attention(name, *sizes, **options)
    assert "this machine has 0.1 GiB" in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize("score", ["gaussian", "dot"])
@pytest.mark.parametrize("return_weights", [False, True])
def test_half_precision_keeps_the_scores_accurate(score, return_weights):
    """A squared norm rounded to bfloat16 would shift scores by whole units (errors above 0.08)."""
    torch.manual_seed(0)
    attention = build_attention("classical", 64, 1, score=score)
    hidden_states = torch.randn(2, 32, 64).bfloat16()
    half = attention.bfloat16()(hidden_states, return_weights=return_weights)[0]
    exact = attention.double()(hidden_states.double())[0]
    torch.testing.assert_close(half.double(), exact, atol=0.012, rtol=0)
