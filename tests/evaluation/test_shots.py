"""Shots for a wanted loss, and where they go, on models small enough to work out by hand."""

import math

import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from scipy import stats

from commands import write_settings
from ketformer.cli import main
from ketformer.errors import KetformerError
from ketformer.evaluation.backend import evaluation_sequences
from ketformer.evaluation.shot_search import _bracket, interval, shots_within
from ketformer.evaluation.shots import Evaluation
from ketformer.quantum import Circuit, Experiment, PauliStrings
from ketformer.quantum.allocation import Sampled, neyman, together
from ketformer.quantum.backends import open_backend
from ketformer.runs import open_run


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    """Two layers of scores measured by Hadamard tests, on sequences of four tokens."""
    folder = tmp_path_factory.mktemp("shots")
    model = {
        "attention": "overlap", "attention_options": {"n_qubits": 1}, "num_hidden_layers": 2,
        "max_position_embeddings": 4,
    }  # fmt: skip
    path = write_settings(folder / "o.yaml", text, model=model)
    assert main(["train", path, "--out", str(folder / "run")]) == 0
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def evaluation(run):
    rows, _ = evaluation_sequences(run, limit=2, progress=False)
    return Evaluation(run.model, rows)


# --- Neyman's allocation -------------------------------------------------------------------------


def test_shots_are_proportional_to_the_deviations():
    assert neyman(torch.tensor([1.0, 2.0, 5.0]), 800, torch.ones(3)).tolist() == [100, 200, 500]


def test_who_would_get_too_few_gets_the_least_and_the_others_share_the_rest():
    """The rest is 90 + 900 - 10, in parts of one to nine."""
    shots = neyman(torch.tensor([0.0, 1.0, 9.0]), 1000, torch.full((3,), 10))
    assert shots.tolist() == [10, 99, 891]


def test_without_any_deviation_all_are_alike():
    assert neyman(torch.zeros(4), 40, torch.ones(4)).tolist() == [10, 10, 10, 10]


def test_more_than_there_are_cannot_be_needed():
    with pytest.raises(ValueError, match="fewer than the 20 needed"):
        neyman(torch.ones(4), 19, torch.full((4,), 5))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=12),
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.integers(0, 2**31),
)
@example([5e-324], 1, 1, 0)  # the inverse of such a number is infinite
@example([1.0, 5e-324], 5, 90, 0)
def test_no_other_allocation_has_a_smaller_variance(deviations, least, more, seed):
    d = torch.tensor(deviations, dtype=torch.float64)
    floor = torch.full((len(d),), least)
    total = int(floor.sum()) + more
    shots = neyman(d, total, floor)
    assert total - len(d) < int(shots.sum()) <= total
    assert (shots >= floor).all()
    other = torch.rand(len(d), generator=torch.Generator().manual_seed(seed)).double()
    other = floor + (total - floor.sum()) * other / other.sum()
    # Rounding down costs at most one shot of each circuit.
    ours, theirs = ((d.square() / s).sum() for s in (shots + 1, other))
    assert ours <= theirs * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_nearly_equal_numbers_become_equal_and_none_is_added(numbers):
    given_ = torch.tensor(numbers)
    shots = together(given_)
    assert int(shots.sum()) <= int(given_.sum())
    assert ((shots == 0) == (given_ == 0)).all()
    some = given_ > 0
    ratio = shots[some] / given_[some]
    assert ((ratio > 0.5) & (ratio < 2)).all()


def test_each_circuit_has_its_own_shots():
    """After RY(t), <Z> = cos t; the row with many shots is exact to their error, and counted."""
    experiment = Experiment(
        Circuit(1).ry(0, "t"), torch.tensor([[0.3], [1.0], [2.0]]), PauliStrings(("Z", "X"))
    )
    sampled = Sampled(open_backend("shots", seed=0))
    shots = torch.tensor([[100, 0], [40_000, 40_000], [1, 1]])
    found = sampled(experiment, shots)
    assert found.shape == (3, 2)
    assert found[0, 0] == pytest.approx(math.cos(0.3), abs=0.2)
    assert found[0, 1] == 0
    assert found[1, 0] == pytest.approx(math.cos(1.0), abs=0.02)
    assert found[1, 1] == pytest.approx(math.sin(1.0), abs=0.02)
    assert (found[2].abs() == 1).all()
    assert sorted(sampled.spent.values()) == [40_001, 40_101]


# --- Evaluations ---------------------------------------------------------------------------------


def test_many_shots_give_the_exact_loss(evaluation, run):
    measured = evaluation.measure(200_000, seed=1)
    assert measured.loss == pytest.approx(evaluation.exact_loss, abs=5e-3)
    assert 0 < measured.divergence < 1e-4
    # Ten pairs of four positions, for each sequence, layer and head.
    heads = run.model.config.num_attention_heads
    assert evaluation.circuits == 2 * 2 * heads * 10
    assert sum(measured.spent.values()) == 200_000 * evaluation.circuits


def test_the_divergence_is_that_of_the_predictions(evaluation):
    """It falls with the number of shots, as a variance does; rare large ones need many seeds."""
    few, many = (
        sum(evaluation.measure(shots, seed=seed).divergence for seed in range(40)) / 40
        for shots in (100, 10_000)
    )
    assert 30 < few / many < 300


def test_the_allocations_have_the_same_number_of_shots(evaluation):
    for shots in (4, 300):
        uniform, influence = (
            sum(evaluation.measure(shots, how).spent.values()) for how in ("uniform", "influence")
        )
        assert 0.9 * uniform < influence <= uniform


def test_shots_go_where_they_matter(evaluation, run):
    """The first token attends to itself alone: its score has no influence."""
    generator = torch.Generator().manual_seed(0)
    sampled = Sampled(open_backend("shots", seed=0))
    first, *_, last = evaluation._pilot(evaluation.rows[0], sampled, 50, generator)
    score_of_itself, *others = first.deviations.flatten().tolist()
    assert score_of_itself < 1e-5 * min(others)
    assert not first.depends
    assert last.depends  # the second layer's angles follow from the first layer's outcomes
    assert all(parameter.requires_grad for parameter in run.model.parameters())


# --- The search ----------------------------------------------------------------------------------


def test_an_interval_is_students():
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0])
    half = stats.t.ppf(0.975, 3) * math.sqrt(5 / 3) * math.sqrt(1.25)
    assert (mean, low, high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))


@pytest.mark.parametrize("needed", [1, 2, 100, 128, 129, 5_000, 1_000_000])
def test_the_bracket_holds_the_number(needed):
    low, high = _bracket(lambda shots: shots >= needed, 0.1)
    assert low < needed <= high
    assert high <= 2 * max(low, 1)


def test_there_is_an_end_to_the_search():
    with pytest.raises(KetformerError, match="1,000,000 shots of each circuit do not bring"):
        _bracket(lambda shots: False, 1e-9)


def test_shots_for_a_wanted_loss(run):
    found = shots_within(run, 0.05, limit=1, repeats=4, progress=False)
    rows = {row["shots"]: row for row in found["tried"]}
    enough = rows[found["shots"]]
    for end in ("loss_low", "loss_high"):
        assert abs(enough[end] - found["exact_loss"]) <= 0.05
    if found["not_enough"]:
        row = rows[found["not_enough"]]
        worst = max(abs(row[end] - found["exact_loss"]) for end in ("loss_low", "loss_high"))
        assert worst > 0.05
        assert found["shots"] <= max(1.1 * found["not_enough"], found["not_enough"] + 1)
    assert found["shots_in_all"] == found["shots"] * found["circuits"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"within": 0}, "within must be positive, got 0"),
        ({"within": 0.1, "repeats": 2}, "at least 3 repeats, got 2"),
        ({"within": 0.1, "allocation": "greedy"}, "must be one of uniform, influence"),
    ],
)
def test_mistakes(run, options, told):
    with pytest.raises(KetformerError, match=told):
        shots_within(run, **options)
