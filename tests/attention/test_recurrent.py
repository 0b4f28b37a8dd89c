"""Linear attention against its recurrence in complex numbers, and what recurrent mixers refuse."""

import pytest
import torch

from ketformer.attention import InputSizes, build_attention, linear
from ketformer.attention._trials import Case
from ketformer.attention.linear import Tokens, complex_read, complex_tokens, in_chunks, start, step
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import KetformerError, NotOfferedError

from .helpers import assert_equal_to, build, tokens

RECURRENT = ["classical_gated_linear", "pam", "qsa_cp"]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 150])
def test_two_reads_are_complex_numbers(length):
    query, key, value = (
        drawn(2, 2, 3, 4, length, 5),
        drawn(2, 2, 3, length, 5),
        drawn(2, 2, 3, length, 6),
    )
    log_decay = -drawn(2, 3, 4, length).abs()
    state, read = torch.zeros(2, 3, 4, 6, 5, dtype=torch.complex128), []
    for t in range(length):
        q, k, v = (torch.complex(*part)[..., t, :] for part in (query, key, value))
        outer = v[..., :, None] * k[..., None, :].conj()
        state = log_decay[..., t].exp()[..., None, None] * state + outer[:, :, None]
        read.append((state @ q[..., None])[..., 0].sum(2))
    given = complex_tokens(query, key, value, log_decay)
    found, left = in_chunks(given)
    assert_equal_to(1e-11, torch.complex(*complex_read(found)), torch.stack(read, dim=2))
    real, imag = (part.chunk(2, -1) for part in left.chunk(2, -2))
    assert_equal_to(1e-11, torch.complex(real[0] + imag[1], imag[0] - real[1]), state)
    begun, state = [], start(given)
    for t in range(length):
        one, state = step(given.part(t, t + 1), state)
        begun.append(one)
    assert_equal_to(1e-11, torch.cat(begun, -2), found)
    assert_equal_to(1e-11, state, left)


def test_chunks_go_on_from_a_state_and_any_size_will_do(monkeypatch):
    given = Tokens(drawn(1, 2, 1, 1, 30, 3), drawn(1, 2, 30, 3), drawn(1, 2, 30, 4))
    whole, last = in_chunks(given)
    first, state = in_chunks(given.part(0, 11))
    monkeypatch.setattr(linear, "CHUNK", 4)
    rest, state = in_chunks(given.part(11, 30), state)
    assert_equal_to(1e-12, torch.cat([first, rest], dim=-2), whole)
    assert_equal_to(1e-12, state, last)
    sums = torch.einsum("bhtv,bhtw->bhvw", given.values, given.keys)
    assert_equal_to(1e-12, last[:, :, 0], sums)


@pytest.mark.parametrize("name", RECURRENT)
def test_padding_may_hold_anything(name):
    mixer = build(name, 12, 1).double()
    hidden = tokens(1, 6, 12).double()
    hidden[:, :2] = torch.nan
    mask = torch.ones(6, 6, dtype=torch.bool).tril()[None, None].clone()
    mask[..., :2] = False
    found = mixer(hidden, mask=mask)[0][:, 2:]
    assert_equal_to(1e-12, found, mixer(hidden[:, 2:])[0])


@pytest.mark.parametrize("name", RECURRENT)
def test_what_needs_scores_is_refused(name):
    mixer = build(name, 12, 1)
    with pytest.raises(NotOfferedError, match="has no attention weights"):
        mixer(tokens(1, 3, 12), return_weights=True)
    with pytest.raises(NotOfferedError, match="has no scores, so they have no spread"):
        spread_of_scores(mixer)
    with pytest.raises(NotOfferedError, match="no scores for positions=alibi"):
        build(name, 12, 1, inputs=InputSizes(11, 128, positions="alibi"))
    for option in ("score", "temperature", "initial_spread", "mixing", "normalise"):
        with pytest.raises(KetformerError, match=f"no option {option}; its options: "):
            build_attention(name, 12, 1, **{option: 1})


def test_a_cache_needs_the_positions_if_they_are_rotary():
    mixer = build("pam", 12, 1, inputs=InputSizes(11, 128, positions="rotary"))
    case = Case("pam")
    with pytest.raises(KetformerError, match="needs the positions: pass `tokens`"):
        mixer(case.batch(1, 3).states, cache=object())


def test_the_sizes_of_pam_are_checked():
    with pytest.raises(KetformerError, match="head width 3 must be even"):
        build("pam", 6, 2)
    with pytest.raises(KetformerError, match="states must be positive, got 0"):
        build("pam", 8, 2, states=0)
    with pytest.raises(NotOfferedError, match="with decay=false there is one"):
        build("pam", 8, 2, states=2, decay=False)


# --- The mechanisms, written out ----------------------------------------------------------------


def test_a_gate_that_is_shut_keeps_the_state_and_writes_nothing():
    mixer = build("pam", 8, 1).double()
    torch.nn.init.constant_(mixer.gate_bias, 50.0)
    hidden = tokens(1, 5, 8).double()
    assert_equal_to(1e-12, mixer(hidden)[0], mixer.out_proj.bias.expand(1, 5, 8))
    torch.nn.init.constant_(mixer.gate_bias, -50.0)
    without = build("pam", 8, 1, gate=False).double()
    without.load_state_dict(mixer.state_dict(), strict=False)
    assert_equal_to(1e-12, mixer(hidden)[0], without(hidden)[0])


@pytest.mark.parametrize("name", ["pam", "classical_gated_linear"])
def test_without_decay_nothing_is_forgotten(name):
    """The decays of a mixer whose dt is 0; the gate still keeps values out."""
    mixer = build(name, 8, 1, decay=False).double()
    fading = build(name, 8, 1).double()
    fading.load_state_dict(mixer.state_dict(), strict=False)
    torch.nn.init.zeros_(fading.decay_proj.weight)
    torch.nn.init.constant_(fading.decay_bias, -50.0)
    hidden = tokens(1, 7, 8).double()
    assert_equal_to(1e-12, mixer(hidden)[0], fading(hidden)[0])
    torch.nn.init.constant_(fading.decay_bias, -4.0)
    assert (mixer(hidden)[0] - fading(hidden)[0]).abs().max() > 1e-4


def test_pam_without_imaginary_parts_is_its_real_twin():
    """With x and W real; the twin's heads are then as wide as PAM's complex ones."""
    pam, twin = build("pam", 16, 2).double(), build("classical_gated_linear", 8, 2).double()
    torch.nn.init.zeros_(pam.imag_proj.weight)
    pam.decay_proj.weight.data[:, 8:] = 0
    with torch.no_grad():
        twin.token_proj.weight.copy_(pam.real_proj.weight)
        twin.decay_proj.weight.copy_(pam.decay_proj.weight[:, :8])
        twin.gate_proj.weight.copy_(pam.gate_proj.weight)
        for mixer in (pam, twin):
            torch.nn.init.eye_(mixer.out_proj.weight)
            torch.nn.init.zeros_(mixer.out_proj.bias)
    real = tokens(1, 9, 8).double()
    found = pam(torch.cat([real, torch.zeros_like(real)], dim=-1))[0]
    assert_equal_to(1e-12, found[..., :8], twin(real)[0])
    assert_equal_to(1e-12, found[..., 8:], torch.zeros_like(real))


def test_rows_of_qsa_cp_have_the_norm_of_its_paper():
    """Values of 1 for a single position: what comes out is that position's weight."""
    mixer = build("qsa_cp", 8, 2).double()
    hidden = tokens(1, 6, 8).double()
    parts = mixer.token_proj(hidden)[0].unflatten(-1, (2, 3, 2, 4))  # [T, Re/Im, qkv, H, d]
    query, key, value = torch.complex(parts[:, 0], parts[:, 1]).unbind(1)
    scores = torch.einsum("ihd,jhd->hij", query, key.conj()).tril()
    norm = (scores.abs().square().sum(-1, keepdim=True) + 1e-8).sqrt()
    mixed = torch.einsum("hij,jhd->ihd", scores / (norm * 2), value).flatten(1)
    expected = mixer.out_proj(torch.cat([mixed.real, mixed.imag], dim=-1))
    assert_equal_to(1e-12, mixer(hidden)[0][0], expected)


def test_the_control_of_qsa_cp_is_real_attention_of_twice_the_width():
    mixer = build("qsa_cp", 8, 2, numbers="real").double()
    hidden = tokens(1, 6, 8).double()
    parts = mixer.token_proj(hidden)[0].unflatten(-1, (2, 3, 2, 4))  # [T, halves, qkv, H, d]
    query, key, value = torch.cat([parts[:, 0], parts[:, 1]], dim=-1).unbind(1)
    scores = torch.einsum("ihd,jhd->hij", query, key).tril()
    norm = (scores.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    mixed = torch.einsum("hij,jhd->ihd", scores / (norm * 2), value).flatten(1)
    assert_equal_to(1e-12, mixer(hidden)[0][0], mixer.out_proj(mixed))
    with_complex = build("qsa_cp", 8, 2)
    assert sum(p.numel() for p in mixer.parameters()) == sum(
        p.numel() for p in with_complex.parameters()
    )
