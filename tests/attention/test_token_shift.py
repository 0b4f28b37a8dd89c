"""``token_shift``: half of the channels are the previous token's, also with a cache and padding."""

import pytest
import torch

from ketformer.attention import attention_mask, attention_options, build_attention
from ketformer.attention._trials import GrowingCache
from ketformer.attention.measured import measured_by
from ketformer.errors import KetformerError
from ketformer.quantum.backends.exact import TorchBackend

from .helpers import assert_equal_to, build, pad, tokens


def moved(hidden, num_heads):
    """Written out: of each block of channels, the first half comes from the position before."""
    out, width = hidden.clone(), hidden.shape[-1] // num_heads
    for position in range(hidden.shape[-2]):
        for head in range(num_heads):
            half = slice(head * width, head * width + width // 2)
            out[..., position, half] = hidden[..., position - 1, half] if position else 0
    return out


def twins(name, hidden_size, num_heads, **options):
    """The same weights with the shift and without it."""
    return [
        build(name, hidden_size, num_heads, token_shift=shift, **options) for shift in (True, False)
    ]


@pytest.mark.parametrize("name", ["classical", "qisa", "qisa_a", "qsann", "overlap"])
def test_it_is_the_mechanism_on_moved_channels(name):
    with_shift, without = twins(name, 20, 2)
    hidden = tokens(3, 6, 20)
    expected, weights = without(moved(hidden, 2), return_weights=True)
    found, found_weights = with_shift(hidden, return_weights=True)
    assert_equal_to(0, found, expected)
    assert_equal_to(0, found_weights, weights)
    assert not torch.allclose(found, without(hidden)[0], atol=1e-2)
    count = [sum(p.numel() for p in a.parameters()) for a in (with_shift, without)]
    assert count[0] == count[1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_first_token_has_none_before_it_whatever_the_padding_holds(side):
    with_shift, without = twins("classical", 15, 3)
    sequences = [tokens(1, n, 15, seed=n)[0] for n in (5, 2)]
    filler = torch.full((2, 7, 15), torch.nan)
    batch, is_token = pad(sequences, 7, side, filler)
    # What is computed from padding is not used, but NaN times a weight of 0 would be NaN.
    hidden, _ = with_shift.shift(batch, attention_mask(7, 7, padding=is_token))
    for row, sequence in enumerate(sequences):
        assert_equal_to(0, hidden[row, is_token[row]], moved(sequence, 3))
    alone = with_shift(sequences[1][None])[0]
    assert_equal_to(0, alone, without(moved(sequences[1], 3)[None])[0])


def test_measured_circuits_are_those_of_moved_channels():
    with_shift, without = (attention.double() for attention in twins("overlap", 8, 2, n_qubits=2))
    hidden, backend = tokens(1, 4, 8).double(), TorchBackend()

    def expect(experiment):
        return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)

    with measured_by(with_shift, expect):
        assert_equal_to(1e-10, with_shift(hidden)[0], without(moved(hidden, 2))[0])


def test_a_cache_keeps_the_halves_beside_the_values():
    attention = build("classical", 16, 2, token_shift=True)
    hidden, cache = tokens(1, 3, 16), GrowingCache()
    attention(hidden, cache=cache)
    assert cache.values[0].shape == (1, 2, 3, 8 + 4)
    assert_equal_to(0, cache.values[0][0, 1, :, 8:], hidden[0, :, 8:12])


def test_heads_of_width_one_have_no_half():
    with pytest.raises(KetformerError, match="token_shift halves the width of a head"):
        build_attention("classical", 4, 4, token_shift=True)


def test_every_mechanism_with_options_offers_it():
    assert attention_options("classical")["token_shift"] is False
    assert "token_shift" not in attention_options("qisa_published")
