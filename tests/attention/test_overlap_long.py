"""Overlaps of long sequences, some heads at a time: the same numbers, and little that is kept."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from ketformer.attention import InputSizes, overlap, overlap_long
from ketformer.attention._trials import Case
from ketformer.attention.conformance import CONFORMANCE
from ketformer.quantum import native
from ketformer.utils.conformance import all_alike

from .helpers import ROTARY, build, tokens

ALIBI = InputSizes(vocab_size=11, max_positions=128, positions="alibi")
#: Options for which only the usual way is right.
UNUSUAL = [
    {"inputs": ALIBI},
    {"angles": "embedding"},
    {"ansatz": "strongly_entangling"},
    {"score": "gaussian"},
    {"normalise": "l2"},
    {"learnable_temperature": True},
    {"dropout": 0.1},
    {"gradient": "spsa"},
]

pytestmark = pytest.mark.skipif(native.library() is None, reason="no native kernels here")


@pytest.fixture
def apart(monkeypatch):
    """Every sequence counts as long; how often its heads were taken apart."""
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return overlap_long.mix_heads_apart(*arguments)

    monkeypatch.setattr(overlap, "LONG", 1)
    monkeypatch.setattr(overlap, "mix_heads_apart", counted)
    return calls


@pytest.mark.parametrize("states", [1, 20, 4096], ids="at most {} states".format)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"inputs": ROTARY, "temperature": 2.0}, {"layers": 2, "n_qubits": 3, "token_shift": True}],
    ids=["usual", "rotary", "narrower"],
)
def test_values_and_gradients_are_the_usual_ones(options, dtype, states, apart, monkeypatch):
    case = Case("overlap", 15, 3, options)
    attention, batch = case.build(dtype=dtype).train(), case.batch(2, 5, dtype=dtype)
    with monkeypatch.context() as usual:
        usual.setattr(overlap, "LONG", 6)
        usual.setattr(overlap, "SHORT", 0)
        expected = batch.outcome(attention)
    assert not apart
    monkeypatch.setattr(overlap_long, "_STATES", states)
    all_alike("some heads at a time", batch.outcome(attention), expected)
    assert len(apart) == 1


@pytest.mark.parametrize(
    "options", [*UNUSUAL, {"entanglement": "none"}], ids=lambda options: next(iter(options))
)
def test_what_the_other_way_lacks_takes_the_usual_one(options, apart):
    case = Case("overlap", 16, 2, options)
    output = case.batch(2, 5).through(case.build().train())
    assert output.isfinite().all()
    assert not apart


def kept_bytes(name, **options):
    """What autograd keeps of one layer, each storage once, parameters aside."""
    attention = build(name, 64, 4, **options).train()
    parameters = {p.untyped_storage().data_ptr() for p in attention.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hidden_states = tokens(1, overlap_long.LONG, 64).requires_grad_()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = attention(hidden_states)
    assert output.requires_grad  # and so holds all that was kept
    return sum(kept.values())


def test_a_long_sequence_keeps_about_as_much_for_the_gradient_as_a_classical_one(monkeypatch):
    classical, own = kept_bytes("classical"), kept_bytes("overlap")
    assert own < 1.1 * classical
    monkeypatch.setattr(overlap, "LONG", overlap_long.LONG + 1)
    assert kept_bytes("overlap") > 3 * classical


@pytest.mark.slow
@pytest.mark.parametrize("check", CONFORMANCE, ids=str)
def test_conformance_if_every_sequence_is_long(check, apart):
    check("overlap", 16, 2)
