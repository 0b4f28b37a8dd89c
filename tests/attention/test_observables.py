"""`PauliObservables`: the fast path equals the reference, and strings are saved with the model."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.attention.observables import PauliObservables
from ketformer.errors import KetformerError
from ketformer.quantum import PauliStrings, entangling_ansatz, native, pauli_expectations

from .helpers import assert_equal_to


def states(shape, seed, dtype):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_columns(observables, real, imag=None):
    return observables(real, imag)


def by_reference(observables, state):
    """The values computed head by head with `pauli_expectations`."""
    heads = zip(state.unbind(-2), observables.strings, strict=True)
    return torch.stack([pauli_expectations(part, strings) for part, strings in heads], dim=-2)


@st.composite
def strings_for_heads(draw):
    """Strings for one to three heads, including repeated and dead strings."""
    n_qubits, count = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    string = st.text("IXYZ", min_size=n_qubits, max_size=n_qubits)
    head = st.lists(string, min_size=count, max_size=count).map(lambda s: PauliStrings(tuple(s)))
    return draw(st.lists(head, min_size=1, max_size=3))


@settings(max_examples=60, deadline=None)
@given(strings_for_heads(), st.integers(0, 2**31))
def test_fast_path_equals_the_reference(strings, seed):
    observables = PauliObservables(strings)
    shape = (10, len(strings), 2 ** strings[0].n_qubits)  # [N, H, D]
    real = states(shape, seed, torch.float64)
    assert_equal_to(1e-12, by_columns(observables, real), by_reference(observables, real))
    state = states(shape, seed, torch.complex128)
    expected = by_reference(observables, state)
    assert_equal_to(1e-12, by_columns(observables, state.real, state.imag), expected)


def test_odd_strings_are_dead_on_real_states_and_alive_on_complex_ones():
    observables = PauliObservables([PauliStrings(("YI", "XY", "ZZ"))])
    state = states((4, 1, 4), 0, torch.complex128)
    alive = [False, False, True]
    assert (by_columns(observables, state.real) != 0).all(dim=0)[0].tolist() == alive
    assert (by_columns(observables, state.real, state.imag) != 0).all()


@pytest.mark.parametrize(("kind", "sets"), [("random", 3), ("distinct", 1)])
def test_heads_draw_their_own_random_strings_and_share_the_distinct_ones(kind, sets):
    torch.manual_seed(0)
    observables = PauliObservables.draw(kind, num_heads=3, count=8, n_qubits=4)
    assert observables.codes.shape == (3, 8, 4)
    assert len({strings.strings for strings in observables.strings}) == sets
    torch.manual_seed(0)
    again = PauliObservables.draw(kind, num_heads=3, count=8, n_qubits=4)
    assert again.strings == observables.strings


def test_random_strings_can_be_dead_or_repeated_and_distinct_ones_cannot():
    torch.manual_seed(0)
    random, distinct = (
        PauliObservables.draw(kind, num_heads=1, count=30, n_qubits=3).strings[0]
        for kind in ("random", "distinct")
    )
    assert random.odd.any()
    assert len(set(random.strings)) < 30
    assert not distinct.odd.any()
    assert len(set(distinct.strings)) == 30


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        ("distinct", 10, "10 distinct observables were requested, but 2 qubits have only 9"),
        ("all", 1, "observables must be one of distinct, random, got 'all'"),
    ],
)
def test_mistakes(kind, count, message):
    with pytest.raises(KetformerError, match=message):
        PauliObservables.draw(kind, num_heads=1, count=count, n_qubits=2)


# The tables of the fast path are cached between calls, so every way to change the strings matters.


def swap_in_place(observables, codes):
    observables.load_state_dict({"codes": codes})


def swap_by_assignment(observables, codes):
    observables.load_state_dict({"codes": codes}, assign=True)


def swap_twice(observables, codes):
    """The second tensor may be at the same memory address as the first."""
    observables.codes = torch.zeros_like(codes)
    observables.codes = codes.clone()


@pytest.mark.parametrize("swap", [swap_in_place, swap_by_assignment, swap_twice])
def test_new_strings_take_effect_at_once(swap):
    observables = PauliObservables([PauliStrings(("ZI", "IZ"))])
    state = states((3, 1, 4), 0, torch.float64)
    by_columns(observables, state)
    new = PauliStrings(("XX", "YY"))
    swap(observables, new.codes[None])
    assert observables.strings == [new]
    assert_equal_to(1e-12, by_columns(observables, state), pauli_expectations(state, new))


@pytest.mark.parametrize("count", [1, 2], ids=["one state", "a state for each head"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.skipif(native.library() is None, reason="no native kernels on this machine")
def test_several_observables_in_one_call(count, normalise):
    circuit = entangling_ansatz(2)
    sets = [("ZI", "IZ"), ("XI",), ("XX", "YY")]
    one, two = (PauliObservables([PauliStrings(s)] * 2, circuit) for s in sets[:2])
    real = torch.randn(5, count, 4, generator=torch.Generator().manual_seed(0))
    angles = torch.randn(4, len(circuit.parameters), generator=torch.Generator().manual_seed(1))
    assert one.can_join(real)
    for _ in range(2):
        found = one(real, None, angles, [two], normalise)
        for own, values, part in zip((one, two), found.chunk(2, 1), angles.chunk(2), strict=True):
            expected = own(real, None, part, normalise=normalise)
            assert_equal_to(1e-6, values[..., : expected.shape[-1]], expected)
        two.load_state_dict({"codes": torch.stack([PauliStrings(("ZZ",)).codes] * 2)})
