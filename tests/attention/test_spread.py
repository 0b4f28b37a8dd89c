"""The spread of the scores at the start, on request the same for every mechanism."""

import pytest
import torch

from ketformer.attention import ATTENTION, attention_options, build_attention
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.models import KetformerConfig, KetformerForCausalLM

from .helpers import build

OFFERING = [
    "classical", "classical_eq", "classical_quadratic", "classical_fourier", "classical_cosines",
    "classical_bottleneck", "classical_gated", "classical_bilinear", "interference",
    "qasa", "qisa", "qisa_a", "overlap",
]  # fmt: skip


def attention_in_a_model(name, hidden_size, options, **more):
    torch.manual_seed(0)
    more |= {"hidden_size": hidden_size, "attention": name, "attention_options": options}
    return KetformerForCausalLM(KetformerConfig(num_hidden_layers=2, **more))


def test_the_spread_is_the_standard_deviation_along_a_row():
    attention = build("classical", 64, 4)
    hidden = torch.randn(1, 4000, 64, generator=torch.Generator().manual_seed(1))
    query, key, _ = attention.project(hidden)
    along_rows = (query @ key.mT / 4).std(-1).square().mean().sqrt()
    assert spread_of_scores(attention) == pytest.approx(float(along_rows), rel=0.1)


def test_rows_of_deviation_one_over_root_of_the_width_have_a_spread_of_one():
    """And the usual 0.02 has 0.02² d, which is almost nothing in a narrow model."""
    attention = attention_in_a_model("classical", 128, {"initial_spread": 1.0}).model.layers[0]
    assert float(attention.attention.score_weights()[0].std()) == pytest.approx(128**-0.5, rel=0.05)
    usual = attention_in_a_model("classical", 128, {}, initializer_range=0.02)
    assert spread_of_scores(usual.model.layers[0].attention) == pytest.approx(
        0.02**2 * 128, rel=0.1
    )


@pytest.mark.parametrize("name", OFFERING)
@pytest.mark.parametrize("spread", [0.05, 1.0])
def test_a_model_starts_with_it_and_keeps_what_is_loaded(tmp_path, name, spread):
    model = attention_in_a_model(name, 64, {"initial_spread": spread}).eval()
    for block in model.model.layers:
        assert spread_of_scores(block.attention) == pytest.approx(spread, rel=1e-4)
    with torch.no_grad():  # trained weights have another spread
        for weight in model.model.layers[1].attention.score_weights():
            weight.mul_(3)
    model.save_pretrained(tmp_path)
    loaded = KetformerForCausalLM.from_pretrained(tmp_path)
    for parameter, saved in zip(loaded.parameters(), model.parameters(), strict=True):
        assert torch.equal(parameter, saved)


@pytest.mark.parametrize("name", OFFERING)
def test_by_default_the_start_follows_the_width(name):
    model = attention_in_a_model(name, 64, {})
    assert model.config.initializer_range == "width"
    assert spread_of_scores(model.model.layers[1].attention) == pytest.approx(1, rel=1e-4)
    assert float(model.lm_head.weight.detach().std()) == pytest.approx(0.55 / 8, rel=0.05)


def test_a_mechanism_that_cannot_start_so_keeps_its_own_start():
    """Overlaps of six qubits in a model of width 16 never spread that far."""
    wide, own = (
        attention_in_a_model("overlap", 16, {}, initializer_range=r) for r in ("width", 0.02)
    )
    weights = [m.model.layers[0].attention.score_weights()[0].std().item() for m in (wide, own)]
    assert weights[0] == pytest.approx(weights[1], rel=0.2)


def test_only_the_weights_that_set_it_are_scaled():
    plain, scaled = (build_seeded(initial_spread=spread) for spread in (None, 0.7))
    width = plain.hidden_size
    ratio = scaled.qkv_proj.weight / plain.qkv_proj.weight
    assert torch.equal(ratio[2 * width :], torch.ones_like(ratio[2 * width :]))
    torch.testing.assert_close(ratio[: 2 * width], ratio[0, 0].expand(2 * width, width))
    assert torch.equal(scaled.out_proj.weight, plain.out_proj.weight)


def build_seeded(**options):
    torch.manual_seed(3)
    return build_attention("classical", 32, 2, **options)


def test_measuring_draws_no_random_numbers():
    build_seeded(initial_spread=0.7)
    state = torch.random.get_rng_state()
    build_seeded()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_mechanism_that_cannot_says_what_to_set():
    for name in set(ATTENTION) - set(OFFERING):
        if "initial_spread" in attention_options(name):
            with pytest.raises(NotOfferedError, match=r"set its temperature|that of a softmax"):
                build_attention(name, 16, 2, initial_spread=1.0)


def test_out_of_reach_or_nonsense_is_refused():
    with pytest.raises(KetformerError, match="no scale of its weights"):
        build_attention("overlap", 16, 2, initial_spread=9.0)
    for value in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(KetformerError, match="must be"):
            build_attention("classical", 16, 2, initial_spread=value)
