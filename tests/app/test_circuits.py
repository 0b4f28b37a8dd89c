"""Attention from circuits, next to the exact one."""

import numpy as np
import pytest

from drawing.test_heatmap import cells
from ketformer.app.circuits import (
    LONGEST,
    NOISE,
    SHOTS,
    backends,
    differences,
    drawings,
    maps,
    measure,
)
from ketformer.errors import KetformerError
from ketformer.quantum import Noise

TEXT = "the cat"


def measured(subject, text=TEXT, **changes):
    options = {"backend": "torch", "shots": None, "noise": Noise(), "seed": 0, **changes}
    return measure(subject.run, text, **options)


def test_without_shots_and_noise_it_is_the_exact_one(opened, writer):
    found = measured(opened(writer))
    assert found.tokens == list(TEXT)
    assert found.exact.shape == (2, 2, 7, 7)
    np.testing.assert_allclose(found.measured, found.exact, atol=1e-5)
    assert found.circuits > 0


def test_shots_blur_it_less_and_less(opened, chemist):
    subject = opened(chemist)
    few, again, other, many = (
        measured(subject, "CC(=O)N", shots=shots, seed=seed)
        for shots, seed in ((100, 0), (100, 0), (100, 1), (100_000, 0))
    )
    gap, least = (differences(m.exact, m.measured, True)[1] for m in (few, many))
    assert gap > 5 * least > 0
    np.testing.assert_array_equal(few.measured, again.measured)
    assert np.abs(few.measured - other.measured).max() > 1e-3


def test_the_presets_of_noise_grow(opened, writer):
    gaps = []
    for noise in NOISE.values():
        found = measured(opened(writer), "the", noise=noise)
        gaps.append(differences(found.exact, found.measured, True)[1])
    assert gaps[0] < 1e-6
    assert gaps == sorted(set(gaps))
    assert list(SHOTS.values()) == [None, 100, 1_000, 10_000, 100_000]


def test_the_pictures_show_both_and_their_difference(opened, writer):
    found = measured(opened(writer), shots=100)
    exact, noisy, difference = map(cells, maps(found, 1, 0))
    for place in ((2, 1), (6, 3)):
        value = found.measured[(1, 0, *place)] - found.exact[(1, 0, *place)]
        assert difference[place] == pytest.approx(value, abs=6e-5)
        assert noisy[place] - exact[place] == pytest.approx(value, abs=2e-4)
    mean = cells(maps(found, 0, None)[0])
    assert mean[2, 1] == pytest.approx(found.exact[0].mean(0)[2, 1], abs=6e-5)


def test_the_mean_counts_what_a_causal_model_may_see():
    exact, noisy = np.zeros((2, 2)), np.array([[0.0, 0.0], [0.3, 0.0]])
    assert differences(exact, noisy, causal=True) == pytest.approx((0.3, 0.1))
    assert differences(exact, noisy, causal=False) == pytest.approx((0.3, 0.075))


def test_what_cannot_be_measured_is_told(opened, writer, classical):
    with pytest.raises(KetformerError, match=f"13 tokens take too many.* use at most {LONGEST}"):
        measured(opened(writer), "the cat sat o")
    with pytest.raises(KetformerError, match="empty"):
        measured(opened(writer), "")
    with pytest.raises(KetformerError, match="no circuits"):
        measured(opened(classical))
    assert not opened(classical).has_circuits
    assert opened(writer).has_circuits


def test_a_model_that_needs_conditions_gets_their_means(opened, needy):
    with pytest.raises(KetformerError, match="no circuits"):  # and not a missing condition
        measured(opened(needy), "CCO")


def test_installed_backends_are_offered(monkeypatch):
    assert next(iter(backends().values())) == "torch"
    there = {"cudaq": True, "pennylane": True, "qiskit": True}
    monkeypatch.setattr("ketformer.quantum.backends.base.find_spec", there.get)
    assert list(backends().values()) == ["torch", "cudaq", "pennylane"]
    monkeypatch.setattr("ketformer.quantum.backends.base.find_spec", lambda name: None)
    assert list(backends().values()) == ["torch"]


def test_its_circuits_are_drawn(opened, writer, classical):
    pictures = drawings(opened(writer))
    assert pictures
    assert all("<svg" in picture.svg for picture in pictures)
    assert drawings(opened(classical)) == []
