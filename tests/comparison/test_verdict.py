"""``ketformer verdict``: the whole way on small models, and mechanisms whose answer is known."""

import json
import random
from dataclasses import replace

import pytest
import torch

from ketformer.attention import ATTENTION
from ketformer.attention.classical import ClassicalAttention
from ketformer.comparison import budget, verdicts as module
from ketformer.comparison.budget import Cost
from ketformer.comparison.costs import measured_costs
from ketformer.comparison.rules import judge
from ketformer.comparison.variants import Variant
from ketformer.errors import KetformerError
from ketformer.evaluation.text import evaluation_windows
from ketformer.runs import load_settings, open_run
from ketformer.runs.data import prepare
from ketformer.tasks.losses import prefix_losses
from report_page import Page

LEAN = ("--seed", 5, "--jobs", 1, "--budget", "2h", "--max_steps", 4)


@pytest.fixture
def short(monkeypatch):
    """Five seeds at most, and timings that do not decide."""
    monkeypatch.setattr(budget, "_MOST_SEEDS", 5)
    monkeypatch.setattr(
        module, "measured_costs", lambda rows, *_: [Cost(row.name, 0.01, 0.1) for row in rows]
    )


@pytest.fixture
def few_controls(monkeypatch):
    """Only the first of the controls, which all take the same way."""
    rows = module._rows
    monkeypatch.setattr(module, "_rows", lambda *args: rows(*args)[:3])


def test_a_leak_is_told_with_the_loss_of_the_prefix(ketformer, tiny, tmp_path, short):
    args = ("verdict", "qisa_published", "--preset", tiny, "--out", tmp_path / "v", *LEAN)
    done = ketformer(*args, "--json")
    assert done.code == 0, done.err
    assert done.json["answer"] == "leaks"
    assert done.json["mechanism"] == "qisa_published"
    assert done.json["explained_by"] == []
    assert done.json["seeds"] == 5
    assert done.json["audit"]["causal"] is False
    assert "leaks: changing token" in done.json["sentence"]
    rows = json.loads((tmp_path / "v/comparison.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["classical", "qisa_published"]
    assert f"{rows[1]['prefix_cross_entropy']['mean']:.3f}" in done.json["sentence"]
    page = Page((tmp_path / "v/report.html").read_text())
    assert "Verdict" in [text for _, text in page.headings]
    assert done.json["sentence"] in " ".join(page.words)


def test_everything_that_an_answer_needs_is_saved_and_used_again(
    ketformer, tiny, tmp_path, short, few_controls, monkeypatch
):
    out = tmp_path / "v"
    args = ("verdict", "qisa", "--preset", tiny, "--out", out, *LEAN)
    first = ketformer(*args, "--json")
    assert first.code == 0, first.err
    keys = {
        "mechanism", "answer", "explained_by", "difference", "interval", "p", "seeds",
        "smallest_difference", "sentence", "attribution", "plan", "audit", "truncation",
    }  # fmt: skip
    assert first.json.keys() == keys | {"report"}
    assert first.json["answer"] in {"no gain", "explained", "not explained"}
    low, high = first.json["interval"]
    assert low <= first.json["difference"] <= high
    rows = json.loads((out / "comparison.json").read_text())["rows"]
    losses = [row["prefix_cross_entropy"]["values"] for row in rows]
    means = [sum(values) / len(values) for values in losses]
    assert first.json["difference"] == pytest.approx(means[1] - means[0])
    assert all(row["parameters"] == pytest.approx(rows[0]["parameters"], rel=0.02) for row in rows)
    assert [share["control"] for share in first.json["attribution"]] == [rows[2]["name"]]
    curve = first.json["truncation"]
    bonds = [point["bond_dimension"] for point in curve if "bond_dimension" in point]
    assert bonds == [2**power for power in range(len(bonds))]
    counts = [point["n_qubits"] for point in curve if "n_qubits" in point]
    assert counts == [*range(1, len(counts) + 1)]
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    monkeypatch.setattr(module, "measured_costs", None)  # the plan is kept, too
    again = ketformer(*args)
    assert again.code == 0, again.err
    assert again.out.startswith(first.json["sentence"])
    for name in (row["name"] for row in rows):
        assert name in again.out


def test_a_slow_mechanism_is_compared_at_equal_time_too(tiny, tmp_path, monkeypatch):
    base = load_settings(tiny)
    rows = [Variant(name, {"attention": name}) for name in ("classical", "qisa", "classical_eq")]
    costs = [
        Cost("classical", 0.01, 0.1),
        Cost("qisa", 0.025, 0.1),
        Cost("classical_eq", 0.01, 0.1),
    ]
    monkeypatch.setattr(module, "measured_costs", lambda *_: costs)
    chosen, found = module._planned(rows, base, None, tmp_path / "v", 3600, 1)
    assert chosen.rows == ["classical", "qisa", "classical_eq", "classical_equal_time"]
    assert found[3].changes == {"attention": "classical", "max_steps": 50}  # 2.5 times 20
    assert found[3].control == "classical, trained for as long as qisa"
    with pytest.raises(KetformerError, match="planned with the control classical_eq, which does"):
        module._planned(rows[:2], base, None, tmp_path / "v", 3600, 1)


def test_costs_are_times_on_this_machine(tiny):
    base = load_settings(tiny)
    rows = [Variant(name, {"attention": name}) for name in ("classical", "qisa")]
    found = measured_costs(rows, base, prepare(base, progress=False), 2)
    assert [cost.name for cost in found] == ["classical", "qisa"]
    assert all(0 < cost.step < 10 and 0 < cost.evaluation < 1000 for cost in found)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("classical",), "classical is what a mechanism is judged against"),
        (("nonsense",), "unknown attention 'nonsense'"),
        (("overlap:qubits=2",), "neither overlap nor the model has an option 'qubits'"),
        (("qisa", "--budget", "soon"), "a budget is written like 30m"),
        (("qisa", "--budget", "1s"), "the budget is too small: classical and qisa need about"),
        (("qisa", "--attention", "qsann"), "the mechanism is the first argument"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(ketformer, tiny, tmp_path, args, told):
    done = ketformer("verdict", *args, "--preset", tiny, "--out", tmp_path / "v")
    assert done.code == 2
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "v").exists()


def test_the_most_telling_controls_are_paid_for_first():
    rotary = load_settings("char-small").override({"initializer_range": 0.02})
    assert rotary.model["positions"] == "rotary"
    names = [row.name for row in module._rows("overlap", rotary)]
    assert names[:6] == [
        "classical", "overlap", "classical_matched_start", "classical_local_start",
        "overlap_no_entanglement", "classical_fourier",
    ]  # fmt: skip
    assert {*names[6:8]} == {"classical_eq", "classical_cosines"}  # its other twins


def test_the_twins_of_others_are_no_controls_of_a_mechanism_that_names_its_own(monkeypatch):
    settings = load_settings("char-small")
    named = {row.name: row.control for row in module._rows("qsa_cp", settings)}
    assert named["qsa_cp:numbers=real"] == "qsa_cp without anything quantum"
    assert {"classical_qk_norm", "classical_token_shift"} < named.keys()
    assert not {"classical_tanh", "classical_fourier"} & named.keys()
    monkeypatch.setattr(ATTENTION, "_registered", {})
    ATTENTION.register("renamed", Renamed)
    assert {"classical_tanh", "classical_fourier"} < {
        row.name for row in module._rows("renamed", settings)
    }


def test_changes_of_the_mechanism_count_by_what_they_take_away_of_its_gain():
    seeds = {"classical": 2.2, "mine": 2.0, "mine_token_shift": 1.9, "mine_small_start": 2.1,
             "classical_token_shift": 1.98, "other": 2.3}  # fmt: skip
    rows = [
        {"name": name, "control": f"{name}: it", "cross_entropy": {"mean": loss},
         "prefix_cross_entropy": {"values": [loss, loss + 0.001 * len(name)]}}
        for name, loss in seeds.items()
    ]  # fmt: skip
    found = {share.control: share for share in module._judged(rows, "text", None).attribution}
    assert found.keys() == {"classical_token_shift", "mine_small_start", "other"}
    assert found["classical_token_shift"].difference == pytest.approx(-0.08, abs=0.01)
    assert found["classical_token_shift"].reason == "it, on both sides"
    assert found["mine_small_start"].difference == pytest.approx(-0.1, abs=0.01)
    without = [row for row in rows if row["name"] != "classical_token_shift"]
    kept = {share.control for share in module._judged(without, "text", None).attribution}
    assert kept == {"mine_small_start", "other"}


# --- Four answers that are known ----------------------------------------------------------------

SETTING = ("--preset", "char-small", "--num_hidden_layers", 2, "--positions", "learned",
           "--max_steps", 600, "--per_device_train_batch_size", 16, "--seed", 42)  # fmt: skip


class Renamed(ClassicalAttention):
    """Classical attention under another name."""


class Wide(ClassicalAttention):
    """Classical attention whose scores start widely spread."""

    twins = ("classical_qk_norm",)  # and so those of other mechanisms are no controls

    def reset_parameters(self):
        super().reset_parameters()
        if not getattr(self.qkv_proj.weight, "_is_hf_initialized", False):
            torch.nn.init.normal_(self.score_weights()[0], std=self.hidden_size**-0.5)


class Turned(ClassicalAttention):
    """Classical attention with rotary positions, declared as a mechanism."""

    twins = ("classical_qk_norm",)

    def __init__(self, *args, inputs=None, **options):
        turned = replace(inputs, positions="rotary") if inputs else None
        super().__init__(*args, inputs=turned, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mechanism", "answer", "explained_by"),
    [
        ("qisa_published", "leaks", []),
        (Renamed, "no gain", []),
        (Wide, "explained", ["classical_matched_start"]),
        (Turned, "not explained", []),
    ],
    ids=str,
)
def test_known_answers_come_out(
    ketformer, tinyshakespeare, tmp_path, monkeypatch, mechanism, answer, explained_by
):
    # A budget that pays for all of it, and so for the same on every machine.
    monkeypatch.setattr("ketformer.comparison.budget._MOST_SEEDS", 5)
    name = mechanism
    if not isinstance(mechanism, str):
        name = mechanism.__name__.lower()
        monkeypatch.setattr(ATTENTION, "_registered", {})
        ATTENTION.register(name, mechanism)
    args = ("verdict", name, *SETTING, "--data", tinyshakespeare, "--budget", "9h")
    done = ketformer(*args, "--out", tmp_path / "v", "--json")
    assert done.code == 0, done.err
    assert done.json["answer"] == answer, done.json["sentence"]
    assert set(explained_by) <= set(done.json["explained_by"])


@pytest.mark.slow
def test_nineteen_of_twenty_null_comparisons_say_no_gain(ketformer, tinyshakespeare, tmp_path):
    """The same mechanism twice, with other seeds: pairs of groups of five trained models."""
    losses = []
    for seed in range(60):
        out = tmp_path / str(seed)
        size = ("--hidden_size", 16, "--num_hidden_layers", 1, "--num_attention_heads", 2)
        steps = ("--max_steps", 150, "--eval_steps", 150, "--save_steps", 150, "--seed", seed)
        args = ("char-small", "--attention", "classical", "--data", tinyshakespeare, *size, *steps)
        assert ketformer("train", *args, "--out", out).code == 0
        run = open_run(out)
        windows, _ = evaluation_windows(run, limit=200, progress=False)
        losses.append(float(prefix_losses(run.model, windows).mean()))
    draw = random.Random(0)
    answers = []
    for _ in range(1000):
        chosen = draw.sample(losses, 10)
        answers.append(judge(("one", chosen[:5]), ("other", chosen[5:]), {}).answer)
    assert answers.count("no gain") >= 950
