"""Grouping of strings by circuit, and expectations from outcomes."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import PauliStrings, apply, measurement_settings, pauli_expectations
from ketformer.quantum.measurement import parities, support

from .helpers import assert_equal_to, dense_pauli, pauli_strings, random_state, seeds

EXACT = 1e-12  # float64

some_strings = st.integers(1, 5).flatmap(pauli_strings)


def chosen(strings, members):
    return PauliStrings(tuple(strings[m] for m in members))


# --- The groups --------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(some_strings)
def test_each_string_is_in_one_group(strings):
    groups = measurement_settings(PauliStrings(strings))
    members = [m for setting in groups for m in setting.members]
    assert sorted(members) == list(range(len(strings)))
    assert all(setting.members for setting in groups)


@settings(max_examples=80, deadline=None)
@given(some_strings)
def test_strings_of_a_group_commute_qubit_by_qubit(strings):
    for setting in measurement_settings(PauliStrings(strings)):
        group = [strings[m] for m in setting.members]
        for letters, axis in zip(zip(*group, strict=True), setting.axes, strict=True):
            assert set(letters) - {"I"} == {axis} - {"I"}


@settings(max_examples=80, deadline=None)
@given(some_strings)
def test_each_string_is_in_the_first_group_that_fits_it(strings):
    groups = measurement_settings(PauliStrings(strings))
    assert [g.members[0] for g in groups] == sorted(g.members[0] for g in groups)
    for place, later in enumerate(groups):
        for earlier in groups[:place]:
            # The members of the earlier group when the string was placed.
            first = later.members[0]
            before = [strings[m] for m in earlier.members if m < first]
            pairs = (zip(strings[first], s, strict=True) for s in before)
            assert any(a != b and "I" not in (a, b) for pair in pairs for a, b in pair)


@pytest.mark.parametrize(
    ("strings", "expected"),
    [
        (("ZII", "IZI", "IIZ", "ZZZ"), [((0, 1, 2, 3), "ZZZ")]),
        (("XI", "IY", "ZY", "XY"), [((0, 1, 3), "XY"), ((2,), "ZY")]),
        (("X", "Y", "Z", "I", "Y"), [((0, 3), "X"), ((1, 4), "Y"), ((2,), "Z")]),
        (("II",), [((0,), "II")]),
    ],
)
def test_groups_by_hand(strings, expected):
    groups = measurement_settings(PauliStrings(strings))
    assert [(group.members, group.axes) for group in groups] == expected


# --- The change of axes ------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(some_strings, seeds)
def test_turned_onto_z_each_string_keeps_its_expectation(strings, seed):
    state = random_state(len(strings[0]), seed=seed)
    for setting in measurement_settings(PauliStrings(strings)):
        group = chosen(strings, setting.members)
        turned = pauli_expectations(apply(setting.rotation, state), support(group))
        by_hand = [state.conj() @ dense_pauli(s) @ state for s in group.strings]
        assert_equal_to(EXACT, turned, torch.stack(by_hand).real)


def test_qubits_on_which_nothing_is_asked_are_not_turned():
    (setting,) = measurement_settings(PauliStrings(("IXZY", "IIZY")))
    gates = [(gate.label, gate.target) for gate in setting.rotation.gates]
    assert gates == [("RY", 1), ("RX", 3)]
    assert setting.rotation.n_qubits == 4


def test_support_is_z_wherever_a_string_acts():
    assert support(PauliStrings(("IXYZ", "IIII"))).strings == ("IZZZ", "IIII")


# --- What outcomes say -------------------------------------------------------------------------


@st.composite
def measured(draw):
    """Strings of I and Z, and measured bits: a list of bit strings."""
    n_qubits = draw(st.integers(1, 6))
    strings = st.lists(st.text("IZ", min_size=n_qubits, max_size=n_qubits), min_size=1, max_size=5)
    bits = st.lists(st.text("01", min_size=n_qubits, max_size=n_qubits), min_size=1, max_size=20)
    return draw(strings), draw(bits)


@settings(max_examples=80, deadline=None)
@given(measured())
def test_parities_are_those_counted_by_hand(case):
    strings, bits = case

    def by_hand(string):
        ones = [
            sum(bit == "1" and letter == "Z" for bit, letter in zip(shot, string, strict=True))
            for shot in bits
        ]
        return sum((-1) ** n for n in ones) / len(ones)

    outcomes = torch.tensor([int(shot, 2) for shot in bits])
    expected = torch.tensor([by_hand(string) for string in strings], dtype=torch.float64)
    actual = parities(outcomes, PauliStrings(tuple(strings)))
    assert actual.dtype is torch.float64
    assert_equal_to(1e-15, actual, expected)


def test_parities_of_batches():
    outcomes = torch.tensor([[[0, 3], [1, 2]], [[0, 0], [3, 2]]])
    out = parities(outcomes, PauliStrings(("ZZ", "ZI", "II")))
    assert out.shape == (2, 2, 3)
    assert out.tolist() == [[[1, 0, 1], [-1, 0, 1]], [[1, 1, 1], [0, -1, 1]]]
    assert outcomes.tolist() == [[[0, 3], [1, 2]], [[0, 0], [3, 2]]]  # unchanged


def test_many_shots_of_a_state_come_near_its_expectations():
    strings = PauliStrings(("XZI", "IZY", "XIY", "IIY", "XZY"))
    (setting,) = measurement_settings(strings)
    state = random_state(3)
    probabilities = apply(setting.rotation, state).abs().square()
    generator = torch.Generator().manual_seed(0)
    outcomes = torch.multinomial(probabilities, 100_000, replacement=True, generator=generator)
    # Five standard errors of the mean of signs.
    assert_equal_to(
        5 / 100_000**0.5, parities(outcomes, support(strings)), pauli_expectations(state, strings)
    )
