"""`orthogonal`: rotations against dense matrices and against circuits; its twin; its scores."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.givens import Rotations, compound, loader, loader_angles
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import Circuit, apply, run

from .helpers import ROTARY, assert_equal_to, build, tokens

MEASURED = next(check for check in CONFORMANCE if check.name == "circuits")


def angles_of(rotations, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(rotations.n_angles, generator=generator, dtype=torch.float64)


def dense(rotations, angles):
    """The product of the Givens rotations, one by one, later ones on the left."""
    matrix = torch.eye(rotations.width, dtype=torch.float64)
    for (a, b), angle in zip(rotations.pairs, angles, strict=True):
        turn = torch.eye(rotations.width, dtype=torch.float64)
        turn[a, a] = turn[b, b] = angle.cos()
        turn[a, b], turn[b, a] = -angle.sin(), angle.sin()
        matrix = turn @ matrix
    return matrix


def unary(state):
    width = state.shape[-1].bit_length() - 1
    return state[..., [1 << (width - 1 - i) for i in range(width)]]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 11), st.sampled_from(["butterfly", "pyramid"]), st.integers(1, 12))
def test_rotations_are_a_product_of_givens_rotations(width, layout, count):
    rotations = Rotations(width, layout)
    angles = angles_of(rotations)
    matrix = rotations.matrix(angles)
    assert_equal_to(1e-12, matrix, dense(rotations, angles))
    assert_equal_to(1e-12, matrix @ matrix.mT, torch.eye(width, dtype=torch.float64))
    vectors = tokens(1, count, width)[0].double()
    assert_equal_to(1e-12, rotations(vectors, angles), vectors @ matrix.mT)


def test_a_butterfly_has_half_of_d_log_d_angles_and_a_pyramid_reaches_every_pair():
    assert [Rotations(d, "butterfly").n_angles for d in (2, 4, 8, 16)] == [1, 4, 12, 32]
    assert [Rotations(d, "pyramid").n_angles for d in (2, 4, 8)] == [1, 6, 28]
    for width in (5, 6, 12):  # each entry meets each other one, directly or not
        rotations = Rotations(width, "butterfly")
        assert (rotations.matrix(angles_of(rotations)).abs() > 1e-9).sum() > width * width / 2


@pytest.mark.parametrize("layout", ["butterfly", "pyramid"])
def test_the_circuit_of_rbs_gates_is_that_matrix_on_unary_states(layout):
    rotations = Rotations(5, layout)
    angles, vector = angles_of(rotations), tokens(1, 1, 5)[0, 0].double()
    loads = loader_angles(vector)
    loaded = run(Circuit(5).x(0).then(loader(5, "a")), loads)
    unit = vector / vector.norm()
    assert_equal_to(1e-12, unary(loaded), unit)
    found = unary(apply(rotations.circuit("w"), loaded, angles))
    assert_equal_to(1e-12, found, rotations.matrix(angles) @ unit)


@pytest.mark.parametrize("signs", [*itertools.product((1.0, -1.0), repeat=3)])
def test_the_loader_keeps_every_sign(signs):
    vector = torch.tensor(signs, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5])
    loaded = run(Circuit(3).x(0).then(loader(3, "a")), loader_angles(vector))
    assert_equal_to(1e-12, unary(loaded), vector / vector.norm())


def test_the_compound_layer_is_the_circuit_on_two_excitations():
    n, d = 2, 3
    rotations = Rotations(n + d, "pyramid")
    angles, vectors = angles_of(rotations), tokens(1, n, d)[0].double()
    places = {
        (i, j): (1 << (n + d - 1 - i)) | (1 << (d - 1 - j)) for i in range(n) for j in range(d)
    }
    state = torch.zeros(2 ** (n + d), dtype=torch.float64)
    for (i, j), place in places.items():
        state[place] = vectors[i, j] / vectors.norm()
    after = apply(rotations.circuit("w"), state, angles)
    expected = torch.stack([after[place] for place in places.values()]).reshape(n, d)
    assert_equal_to(1e-12, compound(vectors, rotations.matrix(angles)), expected)


# --- Scores and values --------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "scale"), [("square", 4), ("absolute", 2), ("dot", 2)])
def test_scores_and_values_are_what_the_formula_says(score, scale):
    attention = build("orthogonal", 12, 3, score=score, temperature=0.7).double()
    hidden = tokens(1, 6, 12).double()
    units = torch.nn.functional.normalize(attention.split_heads(hidden), dim=-1)
    w, v = (attention.rotations.matrix(angles)[None] for angles in attention.angles)
    product = units @ (units @ w.mT).mT
    product = {"square": product.square(), "absolute": product.abs(), "dot": product}[score]
    later = torch.ones(6, 6).triu(1).bool()
    weights = (scale * product / 0.7).masked_fill(later, -math.inf).softmax(-1)
    mixed = (weights @ (units @ v.mT)).transpose(1, 2).flatten(2)
    assert_equal_to(1e-12, attention(hidden)[0], attention.out_proj(mixed))


def test_absolute_values_are_the_sizes_of_the_signed_ones():
    signed, absolute = (build("orthogonal", 12, 3, values=v) for v in ("signed", "absolute"))
    hidden = tokens(1, 6, 12)
    assert_equal_to(0, absolute.project(hidden)[2], signed.project(hidden)[2].abs())
    assert (signed.project(hidden)[2] < 0).any()


def test_without_gates_the_matrices_are_the_identity():
    attention, hidden = build("orthogonal", 8, 2, entanglement="none"), tokens(1, 4, 8)
    query, key, value = attention.project(hidden)
    assert_equal_to(0, key, query)
    assert_equal_to(0, value, query)
    assert not any("angles" in name for name, _ in attention.named_parameters())


def test_the_twin_with_these_matrices_is_the_same():
    attention, twin = build("orthogonal", 12, 3), build("classical_bilinear", 12, 3)
    twin.out_proj.load_state_dict(attention.out_proj.state_dict())
    with torch.no_grad():
        w, v = attention.rotations.matrix(attention.angles)
        twin.score_weight.copy_(w)
        twin.value_weight.copy_(v)
    hidden = tokens(2, 7, 12)
    assert_equal_to(1e-6, twin(hidden)[0], attention(hidden)[0])


@pytest.mark.parametrize("score", ["square", "absolute", "dot"])
@pytest.mark.parametrize("values", ["signed", "absolute"])
def test_scores_and_values_are_measured_with_and_without_signs(score, values):
    options = {"score": score, "values": values, "layout": "pyramid", "inputs": ROTARY}
    MEASURED("orthogonal", 8, 2, **options)


def test_without_gates_circuits_still_load_and_unload():
    MEASURED("orthogonal", 8, 2, entanglement="none")


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(KetformerError, match="at least 2 wide"):
        build("orthogonal", 4, 4)
    with pytest.raises(NotOfferedError, match="circuits measure the scores square"):
        build("orthogonal", 8, 2, score="gaussian").experiments(tokens(1, 2, 8))
    with pytest.raises(NotOfferedError, match="initial_spread"):
        build("orthogonal", 8, 2, initial_spread=0.1)
