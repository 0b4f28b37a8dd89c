"""Each classical control computes what its page says, and meets known mechanisms at its limits."""

import itertools
import math

import pytest
import torch
from torch import nn

from ketformer.attention import ATTENTION, build_attention
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM

from .helpers import assert_equal_to, build, tokens

NEW = [
    "classical_qk_norm", "classical_fourier", "classical_cosines",
    "classical_bottleneck", "classical_gated",
]  # fmt: skip


def dense(attention, hidden, scores, values):
    """Causal softmax of ``scores [B, H, T, T]``, values ``[B, H, T, w]``, output map."""
    later = torch.ones(hidden.shape[1], hidden.shape[1]).triu(1).bool()
    weights = scores.masked_fill(later, -math.inf).softmax(-1)
    return attention.out_proj((weights @ values).transpose(1, 2).flatten(2))


def heads(merged, num_heads):
    """``[B, T, H * w]`` to ``[B, H, T, w]``."""
    return merged.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def share(attention, other):
    """Give ``attention`` the output map of another, and its value map if both have one."""
    attention.out_proj.load_state_dict(other.out_proj.state_dict())
    if hasattr(attention, "value_proj") and hasattr(other, "value_proj"):
        attention.value_proj.load_state_dict(other.value_proj.state_dict())


@pytest.mark.parametrize("name", NEW)
def test_they_are_classical_controls_with_a_reason_of_one_line(name):
    cls = ATTENTION.load(name)
    assert not cls.has_circuits()
    assert "\n" not in vars(cls)["control"]
    assert not vars(cls)["control"].endswith(".")


# --- Query-key normalisation -------------------------------------------------------------------


def test_scores_of_normalised_queries_and_keys_are_cosines_times_the_root_of_the_width():
    attention, hidden = (
        build("classical_qk_norm", 12, 3, temperature=0.5).double(),
        tokens(2, 5, 12),
    )
    hidden = hidden.double()
    query, key, value = (heads(x, 3) for x in attention.qkv_proj(hidden).chunk(3, -1))
    cosine = torch.cosine_similarity(query[..., :, None, :], key[..., None, :, :], dim=-1)
    expected = dense(attention, hidden, 2 * cosine / 0.5, value)
    assert_equal_to(1e-12, attention(hidden)[0], expected)


def test_normalised_scores_start_with_the_same_spread_whatever_the_weights():
    attention = build("classical_qk_norm", 64, 4)
    start = spread_of_scores(attention)
    assert start == pytest.approx(1, abs=0.15)
    with torch.no_grad():
        attention.qkv_proj.weight.mul_(100)
    assert spread_of_scores(attention) == pytest.approx(start, rel=1e-5)


def test_the_temperature_of_normalised_scores_can_be_trained():
    fixed, trained = (
        build("classical_qk_norm", 8, 2, learnable_temperature=trained) for trained in (False, True)
    )
    assert_equal_to(1e-6, trained(tokens(1, 4, 8))[0], fixed(tokens(1, 4, 8))[0])
    trained(tokens(1, 4, 8))[0].square().sum().backward()
    assert (trained.log_temperature.grad != 0).all()


# --- Cosines of angles: Fourier features and their additive twin -------------------------------


def angles_of(attention, hidden, num_heads):
    """Queries' angles ``[B, H, T, 1, n]`` minus keys' ``[B, H, 1, T, n]``, halved."""
    query, key = (heads(x, num_heads) for x in attention.angle_proj(hidden).chunk(2, -1))
    return (query[..., :, None, :] - key[..., None, :, :]) / 2


def test_additive_cosines_are_the_mean_over_the_angles():
    attention = build("classical_cosines", 12, 3, n_angles=4).double()
    hidden = tokens(2, 5, 12).double()
    scores = math.sqrt(12) * angles_of(attention, hidden, 3).cos().mean(-1)
    expected = dense(attention, hidden, scores, heads(attention.value_proj(hidden), 3))
    assert_equal_to(1e-12, attention(hidden)[0], expected)
    assert attention.project(hidden)[0].shape[-1] == 8


def test_fourier_features_are_the_mean_of_their_cosines():
    attention = build("classical_fourier", 12, 3, n_angles=4, n_features=5).double()
    hidden = tokens(2, 5, 12).double()
    assert {*attention.signs.flatten().tolist()} == {-1, 1}
    half = angles_of(attention, hidden, 3)
    by_feature = [(half * attention.signs[:, r, None, None]).sum(-1).cos() for r in range(5)]
    scores = math.sqrt(12) * torch.stack(by_feature).mean(0)
    expected = dense(attention, hidden, scores, heads(attention.value_proj(hidden), 3))
    assert_equal_to(1e-12, attention(hidden)[0], expected)


def test_their_mean_converges_to_the_product_of_cosines():
    hidden, errors = tokens(1, 9, 16).double(), []
    for n_features in (4, 64, 1024, 16384):
        attention = build("classical_fourier", 16, 2, n_features=n_features).double()
        nn.init.normal_(attention.angle_proj.weight, std=0.25)
        query, key, _ = attention.project(hidden)
        exact = angles_of(attention, hidden, 2).cos().prod(-1)
        errors.append((query @ key.mT - exact).square().mean().sqrt().item())
    for n_features, error in zip((4, 64, 1024, 16384), errors, strict=True):
        assert error < n_features**-0.5  # the deviation of a mean of cosines
    assert errors[-1] < errors[0] / 16


def test_all_signs_together_are_overlap_without_entanglement():
    """With every frequency once, the estimate is the kernel itself."""
    fourier = build("classical_fourier", 8, 2, n_angles=3, n_features=8).double()
    overlap = build("overlap", 8, 2, n_qubits=3, entanglement="none").double()
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    fourier.signs.copy_(signs.expand(2, 8, 3))
    fourier.angle_proj.load_state_dict(overlap.angle_proj.state_dict())
    share(fourier, overlap)
    hidden = tokens(2, 5, 8).double()
    assert_equal_to(1e-12, fourier(hidden)[0], overlap(hidden)[0])


def test_frequencies_are_part_of_the_model(tmp_path):
    config = KetformerConfig(
        attention="classical_fourier", vocab_size=7, hidden_size=8, num_attention_heads=2,
        num_hidden_layers=1,
    )  # fmt: skip
    model = KetformerForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    again = KetformerForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(6)[None]
    assert_equal_to(0, again(ids).logits, model(ids).logits)
    signs = model.model.layers[0].attention.signs.clone()
    model.to("meta").to_empty(device="cpu")
    assert_equal_to(0, model.model.layers[0].attention.signs, signs)
    assert not any(name.endswith("signs") for name, _ in again.named_parameters())


@pytest.mark.parametrize("name", ["classical_fourier", "classical_cosines"])
def test_with_one_angle_they_are_overlap_on_one_qubit(name):
    attention = build(name, 8, 2, n_angles=1).double()
    overlap = build("overlap", 8, 2, n_qubits=1, entanglement="none").double()
    attention.angle_proj.load_state_dict(overlap.angle_proj.state_dict())
    share(attention, overlap)
    hidden = tokens(2, 5, 8).double()
    assert_equal_to(1e-12, attention(hidden)[0], overlap(hidden)[0])


def test_their_angles_start_like_those_of_overlap():
    """And sizes agree but for the angles that all tokens of ``overlap`` share."""
    overlap = build("overlap", 64, 4)
    for name in ("classical_fourier", "classical_cosines"):
        attention = build(name, 64, 4)
        start, other = (a.angle_proj.weight.std().item() for a in (attention, overlap))
        assert start == pytest.approx(other, rel=0.05)
        assert not attention.angle_proj.bias.any()
        count, more = (sum(p.numel() for p in a.parameters()) for a in (attention, overlap))
        assert more - count == 2 * 4 * 6


# --- Values ------------------------------------------------------------------------------------


def test_a_bottleneck_as_wide_as_the_model_is_classical_attention():
    classical = build("classical", 12, 3)
    bottleneck = build("classical_bottleneck", 12, 3, value_width=12)
    share(bottleneck, classical)
    query_key, value = classical.qkv_proj.weight.detach().split([24, 12])
    with torch.no_grad():
        bottleneck.qk_proj.weight.copy_(query_key)
        bottleneck.narrow_proj.weight.copy_(torch.eye(12))
        bottleneck.value_proj.weight.copy_(value)
    hidden = tokens(2, 5, 12)
    assert_equal_to(1e-6, bottleneck(hidden)[0], classical(hidden)[0])


@pytest.mark.parametrize("width", [1, 3])
def test_values_have_the_rank_of_the_bottleneck(width):
    attention = build("classical_bottleneck", 12, 3, value_width=width).double()
    values = attention.project(tokens(4, 9, 12).double())[2]
    merged = values.transpose(1, 2).flatten(2).flatten(0, 1)
    assert torch.linalg.matrix_rank(merged) == width


def test_gated_values_are_quadratic_forms_of_rank_one():
    attention, hidden = build("classical_gated", 12, 3).double(), tokens(1, 5, 12).double()
    value = attention.project(hidden)[2].transpose(1, 2).flatten(2)[0]
    maps = zip(attention.value_proj.weight, attention.gate_proj.weight, strict=True)
    forms = torch.stack([torch.outer(one, other) for one, other in maps])  # [d, d, d]
    by_hand = torch.einsum("ti,cij,tj->tc", hidden[0], forms, hidden[0])
    assert_equal_to(1e-12, value, by_hand)
    assert_equal_to(0, attention.project(-hidden)[2], attention.project(hidden)[2])


def test_a_gate_that_is_open_is_classical_attention():
    classical = build("classical", 12, 3)
    gated = build("classical_gated", 12, 3, bias=True)
    share(gated, classical)
    query_key, value = classical.qkv_proj.weight.detach().split([24, 12])
    with torch.no_grad():
        for layer, weight in ((gated.qk_proj, query_key), (gated.value_proj, value)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        gated.gate_proj.weight.zero_()
        gated.gate_proj.bias.fill_(1)
    hidden = tokens(2, 5, 12)
    assert_equal_to(1e-6, gated(hidden)[0], classical(hidden)[0])


@pytest.mark.parametrize("name", ["classical_bottleneck", "classical_gated"])
def test_values_start_as_large_as_those_of_classical_attention(name):
    """In a model whose weights are drawn small; a product of two small maps would be smaller."""
    hidden, sizes = tokens(4, 64, 128), []
    for each in ("classical", name):
        torch.manual_seed(0)
        attention = build_attention(each, 128, 4)
        for module in attention.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        attention.reset_parameters()  # runs after the linear layers, as in a model
        sizes.append(float(attention.project(hidden)[2].square().mean().sqrt()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.3)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("classical_bottleneck", "value_width"),
        ("classical_cosines", "n_angles"),
        ("classical_fourier", "n_angles"),
        ("classical_fourier", "n_features"),
    ],
)
def test_sizes_must_be_positive_and_fit_into_memory(name, option):
    with pytest.raises(KetformerError, match=f"{option} must be positive, got 0"):
        build_attention(name, 8, 2, **{option: 0})
    with pytest.raises(KetformerError, match="is too large"):
        build_attention(name, 8, 2, **{option: 10**12})
