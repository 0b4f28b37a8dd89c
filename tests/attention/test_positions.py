"""Positions in the attention: rotated queries, evolving states, and scores that fall with distance.

The truth: transformers' Llama and Bloom, closed forms, and matrix exponentials.
"""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from ketformer.attention import TokenInputs
from ketformer.attention.alibi import attach, detach, slopes
from ketformer.attention.conformance import CONFORMANCE
from ketformer.attention.inputs import InputSizes
from ketformer.attention.measured import measured_by
from ketformer.attention.rotary import phases, rotate
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import KetformerError, NotOfferedError
from ketformer.quantum import amplitude_encode, unitary
from ketformer.quantum.backends.exact import TorchBackend

from .helpers import assert_equal_to, build, dense_pauli, tokens

CASES = [
    ("classical", {}),
    ("classical", {"score": "gaussian", "mixing": "transposed"}),
    ("classical_eq", {"query_width": 3}),
    ("classical_quadratic", {}),
    ("qsann", {}),
    ("qsann", {"encoding": "angle", "n_qubits": 2, "query_observables": "pauli"}),
    ("qisa", {"score": "double_exponential", "learnable_temperature": True}),
    ("qisa_a", {"score": "dot"}),
    ("overlap", {"n_qubits": 3, "layers": 2}),
]
# Saving and the like know nothing of positions; tracing takes seconds, see below.
CHECKS = [
    check
    for check in CONFORMANCE
    if check.name not in {"compiled", "dropout", "saving", "loading_without_memory"}
]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def sizes(positions, **more):
    return InputSizes(11, 128, positions=positions, **more)


def at(position_ids):
    return TokenInputs(None, torch.as_tensor(position_ids)[None])


def scores_at(attention, hidden, position_ids):
    """The scores ``[H, T, T]``, from the weights: up to a number for each row."""
    inputs = at(position_ids)
    query, key, _ = attention.project(hidden, inputs)
    query, key = attention.rotate(query, key, inputs.position_ids)
    return (query @ key.mT * attention.dot_scale(query.shape[-1]))[0]


# --- The contract ------------------------------------------------------------------------------


@every_case
def test_mechanisms_do_what_they_must_with_rotary_positions(name, options):
    for check in CHECKS:
        check(name, 8, 2, inputs=sizes("rotary"), **options)


@pytest.mark.parametrize(("name", "options"), [*CASES[:2], *CASES[4:7:2], CASES[-1]], ids=str)
def test_and_with_alibi_on_each_path_to_the_weights(name, options):
    for check in CHECKS:
        check(name, 8, 2, inputs=sizes("alibi"), **options)


@pytest.mark.parametrize(("name", "positions"), [("classical", "alibi"), ("qsann", "rotary")])
def test_they_are_one_graph(name, positions):
    (compiled,) = (check for check in CONFORMANCE if check.name == "compiled")
    compiled(name, 4, 1, inputs=sizes(positions))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qisa_published", {}),
        ("qisa_a_published", {}),
        ("overlap", {"angles": "embedding"}),
        ("classical_eq", {"features": "embedding"}),
    ],
)
@pytest.mark.parametrize("positions", ["rotary", "alibi", "none"])
def test_mechanisms_with_positions_of_their_own_refuse_others(name, options, positions):
    with pytest.raises(NotOfferedError, match=f"needs positions=learned, not {positions}"):
        build(name, 8, 2, inputs=sizes(positions), **options)


def test_unknown_positions_and_a_cache_without_positions_are_refused():
    with pytest.raises(KetformerError, match="positions must be"):
        build("classical", 8, 2, inputs=sizes("sinusoidal"))
    for positions in ("rotary", "alibi"):
        attention = build("classical", 8, 2, inputs=sizes(positions))
        with pytest.raises(KetformerError, match="needs the positions: pass `tokens`"):
            attention(tokens(1, 3, 8), cache=lambda keys, values: (keys, values))


# --- Rotary: vectors ---------------------------------------------------------------------------


@pytest.mark.parametrize("base", [10_000.0, 500.0])
def test_queries_and_keys_turn_as_in_llama(base):
    config = LlamaConfig(hidden_size=24, num_attention_heads=3, head_dim=8)
    config.rope_parameters = {"rope_type": "default", "rope_theta": base}
    places = torch.tensor([[0, 1, 2, 7, 31], [3, 4, 5, 6, 90]])
    query, key = torch.randn(2, 2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    cos, sin = LlamaRotaryEmbedding(config)(query, places)
    expected = apply_rotary_pos_emb(query, key, cos, sin)
    assert_equal_to(1e-5, rotate(query, places, base), expected[0])
    assert_equal_to(1e-5, rotate(key, places, base), expected[1])


@given(width=st.integers(2, 9), place=st.integers(0, 5000), base=st.floats(2, 1e6))
@settings(max_examples=50, deadline=None)
def test_turning_is_a_rotation_and_the_last_of_an_odd_width_stays(width, place, base):
    generator = torch.Generator().manual_seed(width)
    vector = torch.randn(1, 1, 1, width, generator=generator, dtype=torch.float64)
    turned = rotate(vector, torch.tensor([[place]]), base)
    assert_equal_to(1e-12, turned.norm(), vector.norm())
    back = rotate(turned, torch.tensor([[-place]]), base)
    assert_equal_to(1e-11, back, vector)
    if width % 2:
        assert torch.equal(turned[..., -1], vector[..., -1])


def test_a_query_of_one_number_cannot_be_turned():
    for narrow in (
        build("classical", 4, 4, inputs=sizes("rotary")),
        build("classical_eq", 8, 2, query_width=1, inputs=sizes("rotary")),
    ):
        with pytest.raises(KetformerError, match="turns pairs of numbers"):
            narrow(tokens(1, 3, narrow.hidden_size))


SHIFTS_DO_NOTHING = [
    ("rotary", "classical", {}),
    ("rotary", "classical", {"score": "gaussian"}),
    ("rotary", "classical_eq", {"query_width": 5}),
    ("rotary", "qisa", {}),
    ("rotary", "overlap", {"n_qubits": 3, "entanglement": "none"}),
    ("rotary", "classical_fourier", {}),
    ("rotary", "classical_cosines", {}),
    ("rotary", "overlap", {"n_qubits": 3, "layers": 2}),  # as long as U_Q = U_K
    ("alibi", "qsann", {}),
    ("alibi", "classical", {}),
]


@pytest.mark.parametrize(("positions", "name", "options"), SHIFTS_DO_NOTHING, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_only_differences_of_positions_count(positions, name, options, dtype, tolerance):
    attention = build(name, 16, 2, inputs=sizes(positions), **options).to(dtype)
    hidden, places = tokens(1, 6, 16).to(dtype), torch.tensor([0, 1, 2, 3, 7, 8])
    near, far = (attention(hidden, tokens=at(places + by))[0] for by in (0, 40))
    assert_equal_to(tolerance, far, near)
    stretched = attention(hidden, tokens=at(2 * places))[0]
    assert float((stretched - near).detach().abs().max()) > 1e-4


def test_positions_survive_half_precision():
    """In bfloat16 the positions 300 and 301 are the same number."""
    for name in ("classical", "overlap", "qsann"):
        for positions in ("rotary", "alibi"):
            attention = build(name, 16, 2, inputs=sizes(positions))
            hidden, places = tokens(1, 5, 16), torch.tensor([299, 300, 301, 302, 303])
            expected = attention(hidden, tokens=at(places))[0]
            found = attention.bfloat16()(hidden.bfloat16(), tokens=at(places))[0]
            assert_equal_to(0.02, found.float(), expected)


def test_the_spread_at_the_start_is_that_of_the_tokens():
    for name in ("classical", "overlap"):
        spreads = [
            spread_of_scores(build(name, 16, 2, inputs=sizes(positions)))
            for positions in ("none", "rotary", "alibi")
        ]
        assert spreads[1:] == pytest.approx([spreads[0]] * 2)


# --- Rotary: states ----------------------------------------------------------------------------


def test_without_entanglement_overlaps_are_cosines_of_differences():
    n = 3
    options = {"n_qubits": n, "layers": 2, "entanglement": "none"}
    attention = build("overlap", 16, 2, inputs=sizes("rotary", rotary_base=50.0), **options)
    attention = attention.double()
    for angles in (attention.query_angles, attention.key_angles):
        torch.nn.init.normal_(angles)
    hidden, places = tokens(1, 5, 16).double(), torch.tensor([0, 1, 4, 5, 30])
    own = attention.angle_proj(hidden)[0].reshape(5, 2, 2, 2, n).sum(-2)  # [T, side, H, n]
    query = own[:, 0] + attention.query_angles.reshape(2, 2, n).sum(1)
    key = own[:, 1] + attention.key_angles.reshape(2, 2, n).sum(1)
    frequencies = torch.tensor([50.0 ** (-m / n) for m in range(n)]).double()
    later = (places[:, None] - places)[..., None, None] * frequencies  # [T, T, 1, n]
    cosines = torch.cos((query[:, None] - key[None] + later) / 2).prod(-1)
    expected = 4 * cosines.permute(2, 0, 1)  # sqrt(16)
    assert_equal_to(1e-6, scores_at(attention, hidden, places), expected)


@pytest.mark.parametrize("encoding", [{}, {"encoding": "angle", "n_qubits": 2}])
def test_encoded_states_evolve_under_a_diagonal_hamiltonian(encoding):
    attention = build("qsann", 4, 1, inputs=sizes("rotary", rotary_base=9.0), **encoding).double()
    still = build("qsann", 4, 1, **encoding).double()
    hidden, places = tokens(1, 4, 4).double(), torch.tensor([0, 1, 2, 11])
    hamiltonian = (dense_pauli("ZI") + dense_pauli("IZ") / 3) / 2  # frequencies 1 and 9^(-1/2)
    found = attention.project(hidden, at(places))
    for side, angles in enumerate(attention.angles[:2]):
        turn = unitary(attention.circuit, angles[0]).to(torch.complex128)
        for place, token, value in zip(places, hidden[0], found[side][0, 0, :, 0], strict=True):
            state = (
                unitary(attention.encoder, token_angles(attention, token))[:, 0]
                if encoding
                else amplitude_encode(token, 2).to(torch.complex128)
            )
            state = turn @ torch.linalg.matrix_exp(-1j * place * hamiltonian) @ state
            expected = float((state.conj() @ dense_pauli("ZI") @ state).real.detach())
            assert float(value.detach()) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found[2], still.project(hidden)[2])  # values do not evolve


def token_angles(attention, token):
    missing = len(attention.encoder.parameters) - len(token)
    return torch.nn.functional.pad(token, (0, missing))


def test_frequencies_fall_from_one_towards_the_inverse_of_the_base():
    found = phases(torch.tensor([[1, 10]]), 4, 16.0, torch.float64)[0]
    assert_equal_to(1e-15, found[0], torch.tensor([1, 0.5, 0.25, 0.125]).double())
    assert_equal_to(1e-14, found[1], 10 * found[0])


def test_measured_scores_need_states_that_evolve():
    attention = build("overlap", 8, 1, n_qubits=2, inputs=sizes("rotary"))
    backend = TorchBackend()

    def expect(experiment):
        return backend.expectations(experiment.circuit, experiment.angles, experiment.strings)

    hidden = tokens(1, 3, 8)
    with measured_by(attention, expect):
        attention(hidden)
        type(attention).rotate, own = type(attention).__mro__[1].rotate, type(attention).rotate
        try:
            with pytest.raises(NotOfferedError, match="its states must evolve with the position"):
                attention(hidden)
        finally:
            type(attention).rotate = own


def test_a_part_in_common_makes_attention_begin_local():
    """Rotated vectors of equal entries have a product that depends on the distance alone."""
    attention = build("classical", 16, 2, local_start=1.5, inputs=sizes("rotary")).double()
    with torch.no_grad():  # the vectors in common begin as asked; nothing is learned yet
        attention.shared.fill_(1.5)
    places = torch.tensor([0, 1, 2, 5, 30])
    scores = scores_at(attention, torch.zeros(1, 5, 16).double(), places)
    distances = (places[:, None] - places)[..., None] * 10000.0 ** (-torch.arange(4) / 4)
    expected = 2 * 1.5**2 * distances.double().cos().sum(-1) / math.sqrt(8)
    assert_equal_to(1e-6, scores, expected.expand(2, 5, 5))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_start_that_is_no_number_is_refused(value):
    with pytest.raises(KetformerError, match="local_start must be finite"):
        build("classical", 16, 2, local_start=value)


# --- ALiBi -------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 20])
def test_slopes_are_those_of_bloom(heads):
    theirs = build_alibi_tensor(torch.ones(1, 5), heads, torch.float32).reshape(heads, 5)
    ours = slopes(heads, torch.float32, torch.device("cpu"))
    assert_equal_to(1e-6, ours[:, None] * torch.arange(5), theirs)


@pytest.mark.parametrize("score", ["dot", "gaussian", "double_exponential"])
def test_weights_fall_with_the_distance(score):
    attention = build("classical", 24, 3, score=score, inputs=sizes("alibi")).double()
    hidden, places = tokens(1, 6, 24).double(), torch.tensor([2, 3, 5, 8, 9, 20])
    _, weights = attention(hidden, tokens=at(places), return_weights=True)
    attention.inputs = replace(attention.inputs, positions="none")
    _, plain = attention(hidden, tokens=at(places), return_weights=True)
    slope = torch.tensor([2**-4, 2**-8, 2**-2]).double()[:, None, None]  # as in the released code
    expected = plain * torch.exp(-slope * (places[:, None] - places))
    assert_equal_to(1e-12, weights, expected / expected.sum(-1, keepdim=True))


def test_long_sequences_in_chunks_have_the_same_bias():
    options = {"score": "double_exponential", "inputs": sizes("alibi")}
    attention = build("classical", 4, 1, **options).double()
    hidden = tokens(1, 300, 4).double().requires_grad_()
    outcomes = []
    for return_weights in (False, True):
        output = attention(hidden, return_weights=return_weights)[0]
        (gradient,) = torch.autograd.grad(output.square().sum(), hidden)
        outcomes.append((output, gradient))
    for chunked, whole in zip(*outcomes, strict=True):
        assert_equal_to(1e-12, chunked, whole)


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=8), st.sampled_from([16, 32, 64]))
@settings(max_examples=100, deadline=None)
def test_keys_carry_their_positions_exactly(places, bits):
    dtype = {16: torch.bfloat16, 32: torch.float32, 64: torch.float64}[bits]
    keys = torch.randn(2, 3, len(places), 5).to(dtype)
    kept, found = detach(attach(keys, torch.tensor([places])))
    assert torch.equal(kept, keys)
    assert found.tolist() == [places] * 2
    assert math.prod(found.shape) == 2 * len(places)
