"""Pauli strings: parsing, expectations by gathers and signs, and the two ways to draw them."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.quantum import PauliStrings, distinct_strings, pauli_expectations, random_strings

from .helpers import assert_equal_to, dense_pauli, pauli_strings, random_state, seeds


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# --- The value ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8).flatmap(pauli_strings))
def test_codes_and_letters_are_the_same_strings(strings):
    paulis = PauliStrings(strings)
    assert (len(paulis), paulis.n_qubits) == (len(strings), len(strings[0]))
    assert paulis.codes.tolist() == [["IXYZ".index(letter) for letter in s] for s in strings]
    assert PauliStrings.from_codes(paulis.codes) == paulis


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6).flatmap(pauli_strings))
def test_odd_marks_strings_with_an_odd_number_of_y(strings):
    assert PauliStrings(strings).odd.tolist() == [s.count("Y") % 2 == 1 for s in strings]


@settings(max_examples=30, deadline=None)
@given(st.text("IXYZixA0 ", min_size=1).filter(lambda text: set(text) - set("IXYZ")))
def test_other_letters_are_refused(text):
    with pytest.raises(ValueError, match="is not a Pauli string"):
        PauliStrings((text,))


@pytest.mark.parametrize(
    ("strings", "message"),
    [
        ((), "at least one Pauli string"),
        (("",), "at least one qubit"),
        (("XX", "X"), "'X' is not a Pauli string of 2 letters"),
        (("xz",), "'xz' is not a Pauli string"),
    ],
)
def test_mistakes_in_strings(strings, message):
    with pytest.raises(ValueError, match=message):
        PauliStrings(strings)


def test_strings_must_fit_the_state():
    with pytest.raises(ValueError, match="strings on 2 qubits do not fit 8 amplitudes"):
        pauli_expectations(torch.ones(8), PauliStrings(("XX",)))


# --- Expectations ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5).flatmap(pauli_strings), seeds, st.booleans())
def test_expectations_equal_the_dense_matrices(strings, seed, real):
    dtype = torch.float64 if real else torch.complex128
    state = 3 * random_state(len(strings[0]), 2, 3, seed=seed, dtype=dtype)  # not normalised
    actual = pauli_expectations(state, PauliStrings(strings))
    assert actual.dtype is torch.float64
    for s, string in enumerate(strings):
        image = state.to(torch.complex128) @ dense_pauli(string).mT
        assert_equal_to(1e-12, actual[..., s], (state.conj() * image).sum(-1).real)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5).flatmap(pauli_strings), seeds)
def test_an_odd_number_of_y_is_exactly_zero_on_real_vectors(strings, seed):
    state = random_state(len(strings[0]), seed=seed, dtype=torch.float64)
    paulis = PauliStrings(strings)
    values = pauli_expectations(state, paulis)
    assert (values[paulis.odd] == 0).all()


def test_known_values_on_qubit_zero():
    plus_i = torch.tensor([1, 1j], dtype=torch.complex128) / 2**0.5
    state = torch.kron(plus_i, torch.tensor([1, 0], dtype=torch.complex128))
    strings = PauliStrings(("YI", "IY", "XI", "ZI", "IZ", "YZ", "II"))
    expected = torch.tensor([1, 0, 0, 0, 1, 1, 1])
    assert_equal_to(1e-15, pauli_expectations(state, strings), expected)


# --- Drawing -----------------------------------------------------------------------------------


def test_random_strings_follow_the_published_law():
    n = 4
    strings = random_strings(20_000, n, seeded(0)).strings
    assert "I" * n not in strings
    letters = "".join(strings)
    # 0.9 for I before all-I strings are discarded; five standard errors are 0.008.
    all_identity = 0.9**n
    frequency_of_identity = (0.9 - all_identity) / (1 - all_identity)
    assert letters.count("I") / len(letters) == pytest.approx(frequency_of_identity, abs=0.008)
    for letter in "XYZ":
        share = letters.count(letter) / (len(letters) - letters.count("I"))
        assert share == pytest.approx(1 / 3, abs=0.015)


def test_a_third_of_the_published_strings_is_dead_on_real_vectors():
    n = 4
    odd = random_strings(20_000, n, seeded(1)).odd.double().mean().item()
    probability = (1 - (1 - 2 * 0.1 / 3) ** n) / 2 / (1 - 0.9**n)  # 0.351
    assert odd == pytest.approx(probability, abs=0.017)


@pytest.mark.parametrize("draw", [random_strings, distinct_strings])
def test_a_seed_repeats_the_draw(draw):
    first, again, other = (draw(12, 4, seeded(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("draw", [random_strings, distinct_strings])
def test_without_a_generator_the_global_seed_decides(draw):
    torch.manual_seed(3)
    first = draw(12, 4)
    torch.manual_seed(3)
    assert draw(12, 4) == first


@pytest.mark.parametrize("count", [1, 7, 100])
def test_random_strings_gives_as_many_as_asked(count):
    assert len(random_strings(count, 1, seeded(0))) == count


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.data())
def test_distinct_strings_are_alive_and_different(n_qubits, data):
    available = (4**n_qubits + 2**n_qubits) // 2 - 1
    count = data.draw(st.integers(1, available))
    paulis = distinct_strings(count, n_qubits, seeded(data.draw(seeds)))
    assert len(set(paulis.strings)) == len(paulis) == count
    assert "I" * n_qubits not in paulis.strings
    assert not paulis.odd.any()
    weights = [n_qubits - s.count("I") for s in paulis.strings]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("n_qubits", "available"), [(1, 2), (2, 9), (3, 35), (4, 135)])
def test_all_distinct_strings_can_be_had_and_no_more(n_qubits, available):
    assert len(distinct_strings(available, n_qubits)) == available
    with pytest.raises(ValueError, match=f"have only {available} Pauli strings"):
        distinct_strings(available + 1, n_qubits)
