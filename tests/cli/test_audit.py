"""``ketformer audit``: the stable keys and the exit codes."""

import pytest

from mechanisms import MECHANISMS

LEAKY = {"qisa_published", "qisa_a_published"}


@pytest.mark.parametrize("attention", MECHANISMS)
def test_every_mechanism_is_proved_or_refuted(ketformer, attention):
    done = ketformer("audit", "--attention", attention, "--json")
    assert done.code == 0
    assert done.json["attention"] == attention
    if attention in LEAKY:
        assert done.json["causal"] is False
        assert done.json["max_future_influence"] > 0.1
    else:
        assert done.json["causal"] is True
        assert done.json["max_future_influence"] == 0.0
    assert done.json["max_past_influence"] > 0.1  # the probe has a visible effect


def test_require_causal_turns_a_leak_into_exit_code_1(ketformer, honest, leaky):
    assert ketformer("audit", honest, "--require_causal").code == 0
    assert ketformer("audit", leaky).code == 0
    refuted = ketformer("audit", leaky, "--require-causal", "--json")
    assert (refuted.code, refuted.json["causal"]) == (1, False)
    assert refuted.err == ""


def test_a_run_is_audited_with_its_own_weights(ketformer, leaky):
    found = ketformer("audit", leaky, "--length", 5, "--sequences", 3, "--json").json
    assert found["attention"] == "qisa_published"
    assert (found["length"], found["sequences"], found["perturbations"]) == (5, 3, 15)
    assert found["worst"][0] > found["worst"][1]
    assert "the future leaks" in ketformer("audit", leaky).out


def test_a_seed_repeats(ketformer, leaky):
    first, again, other = (
        ketformer("audit", leaky, "--seed", seed, "--json").json for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "name either a run directory or an --attention"),
        (("runs/x", "--attention", "qisa"), "name either a run directory or an --attention"),
        (("--attention", "nope"), "unknown attention 'nope'"),
        (("qisa",), "did you mean --attention"),
        (("runs/none",), "no run directory"),
        (("--attention", "qisa", "--sequences", 0), "at least one sequence"),
        (("--attention", "qisa", "--length", 1), "two tokens"),
    ],
)
def test_mistakes(ketformer, args, told):
    ketformer("audit", *args).assert_mistake(told)
