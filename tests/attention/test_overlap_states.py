"""What cancels in an overlap, against complete states of the simulator; and products in halves."""

from dataclasses import replace

import pytest
import torch

from ketformer.attention import InputSizes, TokenInputs, overlap_states
from ketformer.attention.mixing import joined
from ketformer.attention.overlap_states import remainder
from ketformer.quantum import Angle, Circuit, rotation_ring_ansatz, run

from .helpers import GrowingCache, assert_equal_to, build, tokens

HIDDEN, HEADS, LENGTH = 8, 2, 4
EXACT = 1e-12
SIZES = InputSizes(vocab_size=5, max_positions=LENGTH)
OWN = (
    Circuit(3)
    .h(0)
    .ry(0, Angle("a", 2, 0.3))
    .rx(1, "b")
    .cry(0, 2, "c")
    .p(2, "b")
    .cnot(2, 1)
    .rz(1, Angle("d", -1))
    .crx(2, 0, "e")
    .s(0)
    .cnot(0, 2)
)


def overlap(sizes=SIZES, **options):
    """A mechanism in float64 with every weight redrawn."""
    attention = build("overlap", HIDDEN, HEADS, inputs=sizes, **options).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    return attention


def inputs(length=LENGTH):
    ids = torch.arange(length)[None] * 3 % 5
    return tokens(1, length, HIDDEN).double(), TokenInputs(ids, torch.arange(length)[None])


def with_gradients(attention, overlaps):
    weights = torch.randn(overlaps.shape, generator=torch.Generator().manual_seed(3))
    trained = {n: p for n, p in attention.named_parameters() if "out" not in n and "value" not in n}
    found = torch.autograd.grad((overlaps * weights.double()).sum(), tuple(trained.values()))
    return {"overlaps": overlaps, **dict(zip(trained, found, strict=True))}


def in_full(attention):
    """Overlaps of complete states, gate by gate, as hardware would prepare them."""
    query, key = run(*attention.whole_circuit(*inputs()))
    return with_gradients(attention, (query.conj() @ key.mT).real)


def fast(attention):
    query, key, _ = attention.project(*inputs())
    return with_gradients(attention, query @ key.mT)


@pytest.mark.parametrize("path", ["kernel", "matrices", "gates"])
@pytest.mark.parametrize(
    "options",
    [
        {"n_qubits": 3},
        {"n_qubits": 3, "layers": 2},
        {"n_qubits": 4, "layers": 2, "angles": "embedding"},
        {"n_qubits": 3, "ansatz": "entangling"},
        {"n_qubits": 3, "entanglement": "none", "layers": 2},
        {"n_qubits": 4, "entanglement": "none", "angles": "embedding"},
        {"n_qubits": 1},
        {"ansatz": OWN},
    ],
    ids=lambda options: ",".join(f"{k}={v}" for k, v in options.items() if v is not OWN) or "own",
)
def test_overlaps_and_gradients_are_those_of_complete_states(options, path, monkeypatch):
    attention = overlap(**options)
    if path != "kernel":
        attention.states.native = None
    if path == "gates":
        monkeypatch.setattr(overlap_states, "MAX_DENSE_QUBITS", 0)
    expected, found = in_full(attention), fast(attention)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.abs().max() > 1e-3, name
        assert_equal_to(EXACT, found[name], value)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_rings_cancel_and_the_last_rotations_merge(layers):
    n = 4
    ansatz = rotation_ring_ansatz(n, layers)
    between = remainder(ansatz.gates[-n:], ansatz)
    count = {name: sum(g.name == name for g in between.gates) for name in ("RY", "X")}
    assert count == {"RY": n * (2 * layers - 1), "X": n * 2 * layers}
    states = overlap(n_qubits=n, layers=layers).states
    assert len(states.preparation.gates) == n * (2 * layers - 1)  # a key's circuit is no more


def test_entanglement_of_one_layer_cancels_where_both_sides_turn_alike():
    """Then, as at the start of training, the ring changes nothing; in general it does."""
    ring, plain = overlap(n_qubits=4), overlap(n_qubits=4, entanglement="none")
    plain.load_state_dict(ring.state_dict())
    between = [each.project(*inputs()) for each in (ring, plain)]
    scores = [query @ key.mT for query, key, _ in between]
    assert (scores[0] - scores[1]).abs().max() > 0.1
    for each in (ring, plain):
        each.key_angles.data.copy_(each.query_angles)
    scores = [query @ key.mT for query, key, _ in (e.project(*inputs()) for e in (ring, plain))]
    assert_equal_to(EXACT, *scores)


# --- Products ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_qubits", "parts"), [(1, ()), (2, (2, 2)), (5, (8, 4)), (6, (8, 8))])
def test_products_are_kept_as_two_halves(n_qubits, parts):
    attention = overlap(n_qubits=n_qubits, entanglement="none")
    *halves, _, found = attention.factors(*inputs())
    assert found == parts
    whole = attention.project(*inputs())
    for half, state in zip(halves, whole, strict=False):
        assert_equal_to(EXACT, joined(half, parts) if parts else half, state)
    assert_equal_to(EXACT, torch.stack(whole[:2]), run(*attention.whole_circuit(*inputs())))


@pytest.mark.parametrize("score", ["dot", "square", "absolute", "gaussian"])
@pytest.mark.parametrize("length", [LENGTH, 160])  # so many scores go to the fused kernel
def test_mixing_by_halves_is_mixing_by_states(score, length):
    options = {"score": score, "temperature": 0.7, "learnable_temperature": True}
    attention = overlap(n_qubits=3, entanglement="none", **options)
    states, ids = inputs(length)
    ids = TokenInputs(ids.input_ids, ids.position_ids % LENGTH)
    expected = attention(states, tokens=ids, return_weights=True)[0]
    found = attention(states, tokens=ids)[0]
    assert_equal_to(1e-10, found, expected)
    assert found.std() > 0.1
    trained = tuple(attention.parameters())
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), trained),
        torch.autograd.grad(expected.square().sum(), trained),
        strict=True,
    ):
        assert_equal_to(1e-9, one, other)


@pytest.mark.parametrize("score", ["dot", "gaussian"])
@pytest.mark.parametrize("entanglement", ["ring", "none"])
def test_a_cache_holds_halves(entanglement, score):
    attention, (states, ids) = overlap(entanglement=entanglement, score=score), inputs()
    for recorded in (True, False):  # in torch, and in the kernel
        cache, steps = GrowingCache(), []
        with torch.set_grad_enabled(recorded):
            for part in (slice(2), slice(2, 3), slice(3, 4)):
                one = TokenInputs(ids.input_ids[:, part], ids.position_ids[:, part])
                steps.append(attention(states[:, part], cache=cache, tokens=one)[0])
        assert cache.keys[0].shape[-1] == 8 + 8
        assert_equal_to(EXACT, torch.cat(steps, 1), attention(states, tokens=ids)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"n_qubits": 3},
        {"n_qubits": 5, "entanglement": "none"},
        {"n_qubits": 4, "sizes": replace(SIZES, positions="rotary")},
        {"n_qubits": 4, "entanglement": "none", "layers": 2},
    ],
    ids=str,
)
def test_a_kernel_and_torch_keep_the_same_keys(options):
    attention = overlap(**options)
    with torch.no_grad():
        by_kernel = attention.factors(*inputs(), cached=True)
    if attention.states.native is not None and "layers" not in options:
        assert by_kernel[0].shape[-1] == 2 ** options["n_qubits"]
    in_torch = attention.factors(*inputs(), cached=True)
    assert in_torch[1].requires_grad
    assert_equal_to(EXACT, by_kernel[1], in_torch[1])
    query, key, _ = attention.project(*inputs())
    for queries, keys, _, parts in (by_kernel, in_torch):
        whole = queries if queries.shape[-1] > sum(parts) else joined(queries, parts)
        assert_equal_to(EXACT, whole @ joined(keys, parts).mT, query @ key.mT)


@pytest.mark.parametrize("options", [{"n_qubits": 2}, {"layers": 2}, {"angles": "embedding"}])
def test_other_keys_are_kept_whole(options):
    *_, parts = overlap(**options).factors(*inputs(), cached=True)
    assert parts == ()


def test_halves_are_not_rounded_before_they_are_multiplied():
    attention = build("overlap", HIDDEN, HEADS, entanglement="none").to(torch.bfloat16)
    *_, parts = attention.factors(tokens(1, 3, HIDDEN).to(torch.bfloat16))
    assert parts == ()
