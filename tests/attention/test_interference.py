"""`interference`: its score from the formula, and what is left of it without phases."""

import math

import pytest
import torch

from ketformer.errors import KetformerError

from .helpers import assert_equal_to, build, tokens


def by_the_formula(attention, hidden):
    """Scores ``[B, H, T, T]``: w^-1/2 times the sum of a b cos(φ - χ)."""
    waves = []
    for linear in (attention.amplitude_proj, attention.phase_proj):
        waves.append([attention.split_heads(x) for x in linear(hidden).chunk(2, -1)])
    (a, b), (phi, chi) = waves
    cosine = (phi[..., :, None, :] - chi[..., None, :, :]).cos()
    products = a[..., :, None, :] * b[..., None, :, :] * cosine
    return products.sum(-1) / math.sqrt(a.shape[-1])


def scores(attention, hidden):
    query, key, _ = attention.project(hidden)
    return query @ key.mT * attention.dot_scale(query.shape[-1])


@pytest.mark.parametrize("modes", [None, 1, 5])
def test_the_score_is_the_interference_of_the_modes(modes):
    attention = build("interference", 12, 3, query_modes=modes, bias=True).double()
    hidden = tokens(2, 5, 12).double()
    assert_equal_to(1e-12, scores(attention, hidden), by_the_formula(attention, hidden))


def test_it_is_as_wide_as_classical_attention_and_has_as_many_weights():
    attention, classical = build("interference", 16, 2), build("classical", 16, 2)
    assert attention.project(tokens(1, 3, 16))[0].shape[-1] == 8
    count = [sum(p.numel() for p in one.parameters()) for one in (attention, classical)]
    assert count[0] == count[1]


def test_a_negative_amplitude_is_a_phase_of_pi():
    attention, hidden = build("interference", 8, 2, bias=True).double(), tokens(1, 4, 8).double()
    before = attention(hidden)[0]
    with torch.no_grad():
        attention.amplitude_proj.weight[:8].neg_()
        attention.amplitude_proj.bias[:8].neg_()
        attention.phase_proj.bias[:8].add_(math.pi)
    assert_equal_to(1e-12, attention(hidden)[0], before)


def test_without_phases_it_is_a_dot_product_of_the_amplitudes():
    zero, trained = (build("interference", 8, 2, phases=p).double() for p in ("zero", "trained"))
    hidden = tokens(1, 4, 8).double()
    with torch.no_grad():
        trained.phase_proj.weight.zero_()
    zero.load_state_dict(trained.state_dict(), strict=False)
    assert_equal_to(1e-12, zero(hidden)[0], trained(hidden)[0])
    assert zero.project(hidden)[0].shape[-1] == 2


def test_cartesian_coordinates_are_the_linear_maps_themselves():
    attention = build("interference", 8, 2, coordinates="cartesian").double()
    hidden = tokens(1, 4, 8).double()
    real, imag = (linear(hidden) for linear in (attention.amplitude_proj, attention.phase_proj))
    expected = sum(
        attention.split_heads(q) @ attention.split_heads(k).mT
        for q, k in (real.chunk(2, -1), imag.chunk(2, -1))
    )
    assert_equal_to(1e-12, scores(attention, hidden), expected / math.sqrt(2))
    with pytest.raises(KetformerError, match="cartesian coordinates have no phases to be zero"):
        build("interference", 8, 2, coordinates="cartesian", phases="zero")


def test_random_phases_are_kept_with_the_model_and_not_trained():
    attention = build("interference", 8, 2, phases="random")
    assert "phase_weight" in attention.state_dict()
    assert "phase_weight" not in dict(attention.named_parameters())
    other = build("interference", 8, 2, phases="random", seed=1)
    other.load_state_dict(attention.state_dict())
    assert_equal_to(0, other(tokens(1, 4, 8))[0], attention(tokens(1, 4, 8))[0])
