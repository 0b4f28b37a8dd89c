"""An optimisation as a whole: it learns, counts, goes on after a kill, and writes what it found."""

import csv
import json

import pytest
import torch
from hypothesis import given, strategies as st

from ketformer.errors import KetformerError
from ketformer.optimisation import Optimisation, loop, optimise, top_auc
from ketformer.optimisation.loop import written_otherwise
from ketformer.runs import open_run
from ketformer.tasks.molecules.chemistry import canonical_smiles
from ketformer.tasks.molecules.oracles import Oracle

HOW = Optimisation(budget=120, batch=32, sigma=60, learning_rate=2e-2, replay=8, bucket_size=0)


# Of the oracle below, which fails now and then; a test of its own looks at what is said.
pytestmark = pytest.mark.filterwarnings("ignore:the oracle m.f failed", "ignore:.* lie outside")


def nitrogens(smiles):
    return smiles.upper().count("N")


class Counting:
    """An oracle that likes nitrogen, fails on fluorine, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, smiles):
        self.asked += smiles
        if any("F" in text for text in smiles):
            raise RuntimeError("no fluorine")
        return [nitrogens(text) / 3 for text in smiles]


@pytest.fixture(scope="module")
def run(molecules):
    return open_run(molecules)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """An uninterrupted optimisation: its result, its folder, and its oracle."""
    out, oracle = tmp_path_factory.mktemp("optimised") / "out", Counting()
    return optimise(run, Oracle("m:f", oracle), out, HOW), out, oracle


def again(run, out, how=HOW, each=lambda step: None):
    oracle = Counting()
    return optimise(run, Oracle("m:f", oracle), out, how, each=each), oracle


def test_each_molecule_is_asked_about_once_and_counts_once(whole):
    result, out, oracle = whole
    rows = list(csv.DictReader((out / "molecules.csv").open()))
    assert result["calls"] == len(rows) == len({row["smiles"] for row in rows}) == HOW.budget
    assert {row["smiles"] for row in rows} == set(oracle.asked)
    failed = [row for row in rows if row["failure"]]
    assert result["failures"] == len(failed) == len([r for r in rows if "F" in r["smiles"]])
    assert sorted(int(row["call"]) for row in rows) == list(range(1, HOW.budget + 1))
    assert all((row["value"], row["score"]) == ("", "0") for row in failed)


def test_the_numbers_are_those_of_the_table(whole):
    result, out, _ = whole
    rows = sorted(csv.DictReader((out / "molecules.csv").open()), key=lambda r: int(r["call"]))
    scores = [float(row["score"]) for row in rows]
    wanted = [0 if row["failure"] else min(nitrogens(row["smiles"]) / 3, 1) for row in rows]
    assert scores == pytest.approx(wanted, rel=1e-5)
    assert result["auc_top_10"] == pytest.approx(top_auc(scores, HOW.budget))
    assert result["top_10"] == pytest.approx(sum(sorted(scores)[-10:]) / 10)
    assert result["best"][0]["score"] == max(scores)
    assert json.loads((out / "result.json").read_text()) == result
    assert {path.name for path in out.iterdir()} >= {
        "molecules.sdf", "molecules.png", "curve.svg", "agent",
    }  # fmt: skip


def test_it_learns(run, tmp_path):
    """What is sampled in the end scores higher than in the beginning."""
    how = Optimisation(**{**vars(HOW), "budget": 240})
    trace = again(run, tmp_path / "out", how)[0]["trace"]
    first, last = trace[:3], trace[-3:]
    assert sum(r["score"] for r in last) > 1.5 * sum(r["score"] for r in first)


def test_a_killed_one_goes_on_to_the_same_result(run, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVED_EVERY", 2)
    taken = []

    def kill(step):
        taken.append(step)
        if len(taken) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(run, tmp_path / "out", each=kill)
    with (tmp_path / "out/answers.jsonl").open("a") as file:
        file.write('{"smiles": "C')  # killed while it wrote a line
    known = {
        json.loads(line)["smiles"]
        for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()[:-1]
    }
    result, oracle = again(run, tmp_path / "out")
    assert known
    assert not known & set(oracle.asked)
    assert result == whole[0]
    table = "molecules.csv"
    assert (tmp_path / "out" / table).read_bytes() == (whole[1] / table).read_bytes()
    ours, theirs = open_run(tmp_path / "out/agent").model, open_run(whole[1] / "agent").model
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_finished_one_asks_nothing_and_a_greater_budget_continues(run, whole, tmp_path):
    out = tmp_path / "out"
    first, _ = again(run, out, Optimisation(**{**vars(HOW), "budget": 70}))
    same, oracle = again(run, out, Optimisation(**{**vars(HOW), "budget": 70}))
    assert (same, oracle.asked) == (first, [])
    more, _ = again(run, out)
    assert more == whole[0]


def test_a_folder_of_something_else_is_left_alone(run, whole):
    before = (whole[1] / "result.json").read_bytes()
    with pytest.raises(KetformerError, match="holds an optimisation with sigma 60, not 61"):
        again(run, whole[1], Optimisation(**{**vars(HOW), "sigma": 61}))
    with pytest.raises(KetformerError, match=r"asked about .* more than --budget 5"):
        again(run, whole[1], Optimisation(**{**vars(HOW), "budget": 5}))
    assert (whole[1] / "result.json").read_bytes() == before
    with pytest.raises(KetformerError, match="holds something else; choose another --out"):
        again(run, run.path)


def test_an_oracle_that_fails_on_everything_ends_it(run, tmp_path):
    with pytest.raises(KetformerError, match=r"failed on \d+ of \d+ .* nothing to learn from"):
        optimise(run, Oracle("m:f", lambda smiles: [None] * len(smiles)), tmp_path / "out", HOW)


def test_failures_and_values_beyond_the_range_are_said(run, tmp_path):
    oracle = Oracle("m:f", lambda smiles: [len(text) / 5 for text in smiles])
    with pytest.warns(UserWarning, match=r"of 40 values of m:f lie outside 0 to 1"):
        optimise(run, oracle, tmp_path / "out", Optimisation(budget=40, batch=32))


def test_a_model_that_finds_nothing_new_ends_early(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_PATIENCE", 2)
    monkeypatch.setattr(loop, "canonical_smiles", lambda text: "C")
    result, _ = again(run, tmp_path / "out")
    assert (result["calls"], result["stopped"]) == (1, "no new molecule in 2 steps")


def test_it_ends_when_the_best_stay_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_MANY", 20)
    monkeypatch.setattr(loop, "_BEST", 2)
    oracle = Oracle("m:f", lambda smiles: [0.5] * len(smiles))
    how = Optimisation(budget=10_000, batch=8, patience=3)
    result = optimise(run, oracle, tmp_path / "out", how)
    assert result["stopped"] == "the best 2 stayed the same for 3 steps"
    # As soon as there are enough: the scores are all the same.
    *_, before, last = (row["calls"] for row in result["trace"])
    assert before < 20 <= last or len(result["trace"]) == 4
    assert result == optimise(run, oracle, tmp_path / "out", how)


def test_the_steered_model_is_a_run(whole, run):
    agent = open_run(whole[1] / "agent")
    assert agent.task == "molecules"
    assert agent.manifest["optimised"]["weights_sha256"] == run.weights_sha256
    assert agent.weights_sha256 != run.weights_sha256


@given(st.integers(1, 2**31 - 2))
def test_a_molecule_written_otherwise_is_the_same(seed):
    text = written_otherwise("Cc1ccc(O)cc1[N+](=O)[O-]", seed)
    assert canonical_smiles(text) == canonical_smiles("Cc1ccc(O)cc1[N+](=O)[O-]")
    assert text == written_otherwise("Cc1ccc(O)cc1[N+](=O)[O-]", seed)


def test_conditions_and_augmentations_are_those_of_every_step(conditional, tmp_path, monkeypatch):
    written = []

    def write(smiles, seed):
        written.append(smiles)
        return "[Xe]" if len(written) == 1 else smiles  # an unknown token is left out

    monkeypatch.setattr(loop, "written_otherwise", write)
    changes = {"budget": 40, "conditions": {"logp": 1.0}, "augmentations": 1}
    how = Optimisation(**{**vars(HOW), **changes})
    result, _ = again(open_run(conditional), tmp_path / "out", how)
    assert result["conditions"] == {"LogP": 1.0}
    assert result["calls"] == 40
    good = {row["smiles"] for row in result["best"] if row["score"] > 0}
    assert written
    assert set(written) <= good


def test_models_that_cannot_be_steered_are_refused(honest, tmp_path):
    with pytest.raises(KetformerError, match="is a model of text"):
        again(open_run(honest), tmp_path / "out")
    assert not (tmp_path / "out").exists()
