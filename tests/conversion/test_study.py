"""The study of converted models, and the block that the documentation shows of it."""

import json
from importlib import import_module

import pytest

from ketformer.utils.progress import Bars


@pytest.fixture(scope="module")
def study():
    """The results after each of two seeds, and what the bar was told."""
    module, told = import_module("convert_study"), []

    class Told(Bars):
        def __call__(self, label):
            return lambda *counts: told.append(counts)

    module.Bars = Told
    plan = module.Plan(
        data="embedded", attentions=("qisa",), seeds=(0, 1), width=8, blocks=1, heads=2, context=8,
        batch_size=4, steps=10, learning_rate=1e-2, distillation_steps=9, calibration=800,
        fine_tuning_steps=3, prefix_rows=4,
    )  # fmt: skip
    results = [json.loads(json.dumps(result)) for result in module.run(plan)]
    return results, told, plan


def test_every_seed_adds_to_the_result(study):
    first, second = study[0]
    assert (first["seeds"], second["seeds"]) == ([0], [0, 1])
    assert [row["name"] for row in second["rows"]] == ["original", "qisa"]
    for before, after in zip(first["rows"], second["rows"], strict=True):
        for key, value in before.items():
            if isinstance(value, dict):
                assert after[key]["values"][:1] == value["values"]
                assert after[key]["values"][1] != value["values"][0]


def test_the_bar_ends_when_all_is_done(study):
    _, told, plan = study
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (plan.total, plan.total)


def test_each_stage_does_what_it_says(study):
    original, converted = study[0][-1]["rows"]
    assert len({json.dumps(v) for v in converted.values()}) == len(converted)  # no loss twice
    assert original["prefix_difference"] < 1e-4
    assert 0 < converted["prefix_difference"] < 1e-4
    for name in ("tuned", "tuned_random", "tuned_random_longer"):
        start = "distilled" if name == "tuned" else "random"
        assert converted[name]["mean"] < converted[start]["mean"]


def test_the_block_shows_what_was_measured(study):
    *_, result = study[0]
    shown = import_module("convert_blocks").convert_study({"convert": result}.__getitem__)
    converted = result["rows"][1]
    for key in ("random", "distilled", "tuned", "tuned_random", "tuned_random_longer"):
        assert f"{converted[key]['mean']:.3f} ± " in shown
    difference = converted["tuned"]["mean"] - converted["tuned_random_longer"]["mean"]
    assert f"{difference:+.3f} ± " in shown
    assert "for longer 12, as many as both" in shown
