"""Rows of a comparison start alike: the scores of each are as far apart at the first step."""

import math

import pytest
import torch

from ketformer.comparison import rows_of
from ketformer.comparison.start import measured_start, started_alike
from ketformer.comparison.tables import notes_on
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import load_settings
from ketformer.runs.data import prepare

MODEL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 30}


@pytest.fixture
def base(tiny):
    """The settings that the rows share."""
    return load_settings(tiny)


def options_of(arms, settings, spread=1.0):
    rows = started_alike(rows_of(arms, settings), settings, {"vocab_size": 30}, spread, range(3))
    return [row.changes.get("attention_options") for row in rows]


def test_weights_are_scaled_or_else_the_temperature_is_set(base):
    base = base.override({"hidden_size": 64, "num_attention_heads": 4})
    classical, overlap, qsann = options_of(["classical", "overlap", "qsann"], base, 0.7)
    assert classical == {"initial_spread": 0.7}
    assert overlap == {"initial_spread": 0.7}
    assert qsann.keys() == {"temperature"}
    published = base.override({"attention_options": {"angles": "embedding", "n_qubits": 4},
                               "attention": "overlap"})  # fmt: skip
    (options,) = options_of(["overlap"], published)
    assert options.keys() == {"angles", "n_qubits", "temperature"}


def test_what_some_seeds_cannot_have_is_the_temperatures_matter(base):
    """Which seed of a narrow overlap cannot spread so far is decided by its draw."""
    base = base.override({"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2})

    def kinds(seeds):
        rows = rows_of(["overlap"], base)
        (row,) = started_alike(rows, base, {"vocab_size": 65}, 1.0, seeds)
        return [*row.changes["attention_options"]]

    alone = {seed: kinds([seed]) for seed in range(42, 50)}
    assert {*map(tuple, alone.values())} == {("initial_spread",), ("temperature",)}
    assert kinds(range(42, 50)) == ["temperature"]
    able = [seed for seed, found in alone.items() if found == ["initial_spread"]]
    assert kinds(able) == ["initial_spread"]


def test_each_mechanism_of_a_hybrid_starts_as_it_does_alone(base):
    base = base.override({"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3})
    arms = ["classical", "qsann", "qisa_published", "classical+qsann+qisa_published"]
    classical, qsann, leaky, hybrid = options_of(arms, base, 0.7)
    assert leaky is None
    assert hybrid == {"classical": classical, "qsann": qsann, "qisa_published": {}}


def test_what_has_no_softmax_of_scores_starts_as_it_is(base, tmp_path):
    base = base.override({"num_hidden_layers": 2})
    arms = ["pam", "classical:normalise=l2", "classical+pam"]
    state, normed, hybrid = options_of(arms, base)
    assert state is None
    assert normed == {"normalise": "l2"}
    assert hybrid == {"classical": {"initial_spread": 1.0}, "pam": {}}
    for changes in ({"attention": "pam"}, {"attention_options": {"normalise": "l2"}}):
        settings = base.override(changes)
        measured = measured_start(settings, prepare(settings))
        assert measured == {"start_spread": None, "start_entropy": None}


def test_the_table_says_why_a_row_has_no_start():
    row = {"causal": True, "start_entropy": None, "name": "pam"}
    rows = [row, {"causal": False, "start_entropy": None, "name": "leaky"}]
    rows.append({"causal": True, "start_entropy": 0.9, "name": "classical"})
    notes = notes_on({"rows": rows, "seeds": [1], "settings": {"training": {}}})
    (note,) = [note for note in notes if "begins as it is" in note]
    assert note.startswith("pam: no attention weights")


def test_a_row_with_a_start_of_its_own_keeps_it(base):
    arms = ["classical:initial_spread=0.05", "qsann:temperature=3", "qisa_published"]
    first, second, third = options_of(arms, base)
    assert (first, second, third) == ({"initial_spread": 0.05}, {"temperature": 3}, None)


@pytest.mark.parametrize("name", ["classical", "overlap", "qsann", "qisa"])
def test_the_first_batch_shows_it(base, name):
    """Hidden states are not standard normal there, so not to the digit."""
    settings = base.override({"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64})
    data = prepare(settings, progress=False)
    (row,) = started_alike(rows_of([name], settings), settings, data.model_keys, 1.0, [1])
    found = measured_start(settings.override({**row.changes, "seed": 1}), data)
    assert found["start_spread"] == pytest.approx(1, abs=0.45)
    assert 0.6 < found["start_entropy"] < 0.97


def test_the_measures_are_those_of_the_weights(base):
    data = prepare(base, progress=False)
    settings = base.override({"attention": "classical", "seed": 3, "initializer_range": 0.3})
    found = measured_start(settings, data)
    torch.manual_seed(3)
    config = KetformerConfig(**{**data.model_keys, **settings.model})
    model = KetformerForCausalLM(config).eval()
    rows, _ = data.training_sets(config.max_position_embeddings)
    ids = rows.batch(list(range(8)))["input_ids"]
    with torch.no_grad():
        layers = model(ids, output_attentions=True, use_cache=False).attentions
    spreads, entropies = [], []
    for weights in layers:
        for i in range(1, ids.shape[1]):
            seen = weights[:, :, i, : i + 1].double()
            spreads.append(seen.log().var(-1).mean())
            entropies.append((-(seen * seen.log()).sum(-1) / math.log(i + 1)).mean())
    # One mean over queries in each block, and then over blocks.
    half = len(spreads) // len(layers)
    blocks = [
        torch.stack(spreads[i : i + half]).mean().sqrt() for i in range(0, len(spreads), half)
    ]
    assert found["start_spread"] == pytest.approx(float(torch.stack(blocks).mean()), rel=1e-6)
    assert found["start_entropy"] == pytest.approx(float(torch.stack(entropies).mean()), rel=1e-6)


def test_a_leak_has_no_rows_to_measure(base):
    data = prepare(base, progress=False)
    found = measured_start(base.override({"attention": "qisa_published"}), data)
    assert found == {"start_spread": None, "start_entropy": None}


def test_the_table_has_the_entropy_and_the_page_can_be_told_to_leave_starts_alone(
    ketformer, tiny, tmp_path
):
    args = ("compare", "classical", "qisa", "--preset", tiny, "--seeds", 1, "--rates", 1,
            "--jobs", 1, "--max_steps", 2)  # fmt: skip
    alike = ketformer(*args, "--out", tmp_path / "a", "--json").json
    own = ketformer(*args, "--initial_spread", "null", "--out", tmp_path / "b", "--json").json
    assert ["entropy at start", "start_entropy"] in alike["columns"]
    for row in alike["rows"]:
        assert row["attention_options"]["initial_spread"] == 1
    assert [row["attention_options"] for row in own["rows"]] == [{}, {}]
    assert (alike["initial_spread"], own["initial_spread"]) == (1, None)
