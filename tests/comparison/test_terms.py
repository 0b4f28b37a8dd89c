"""The terms of ``ketformer compare``: rates, batches, controls, processes, and what is shown."""

import json
import os
import random
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rich.console import Console

from commands import metrics, start, without_times
from ketformer.attention import ATTENTION
from ketformer.comparison import Variant, matched, rows_of
from ketformer.comparison.board import Board, state_of
from ketformer.comparison.jobs import Job
from ketformer.comparison.search import Search, search_rates
from ketformer.comparison.workers import run_jobs
from ketformer.errors import KetformerError, NotFiniteError, Stopped
from ketformer.runs import load_settings
from ketformer.runs.directory import SETTINGS_FILE, write_metrics
from ketformer.training.trainer import SafeTrainer
from ketformer.utils.processes import run_in_processes


@pytest.fixture
def base(tiny):
    """The settings that the rows share."""
    return load_settings(tiny)


def jobs_for(base, out, names=("classical", "qisa"), seeds=(5, 6), evaluation=None):
    return [
        Job(
            name, f"seed {seed}", base.override({"attention": name, "seed": seed}),
            out / f"{name}-seed{seed}", evaluation,
        )
        for name in names
        for seed in seeds
    ]  # fmt: skip


# --- Learning rates ------------------------------------------------------------------------------


def test_the_search_is_around_the_own_rate_with_a_seed_that_no_row_has(base):
    search = Search.around(base.override({"seed": 7}), 3, 0.5)
    assert search.rates == (0.0032, 0.01, 0.032)
    assert search.seed == 1042  # whatever the seed of the rows
    trial = search.settings(base.override({"warmup_steps": 8}), 0.032).training
    assert trial["max_steps"] == 10
    assert trial["warmup_steps"] == 4
    assert (trial["learning_rate"], trial["seed"]) == (0.032, 1042)
    epochs = base.override({"max_steps": -1, "num_train_epochs": 4})
    assert search.settings(epochs, 0.01).training["num_train_epochs"] == 2


def test_each_row_gets_its_best_rate_from_a_grid_that_goes_beyond_it(base, tmp_path, monkeypatch):
    losses = {("a", 0.0032): 3.0, ("a", 0.01): 2.0, ("a", 0.032): None,
              ("b", 0.0032): 1.5, ("b", 0.01): 2.0, ("b", 0.032): 9.0,
              ("b", 0.001): 1.2, ("b", 0.00032): 1.3}  # fmt: skip

    def answers(jobs, **_):
        return [
            {"eval_loss": losses[job.row, job.settings.training["learning_rate"]]} for job in jobs
        ]

    monkeypatch.setattr("ketformer.comparison.search.run_jobs", answers)
    monkeypatch.setattr("ketformer.comparison.search._FURTHER", 4)  # as users have it
    search = Search.around(base, 3, 0.5)
    variants = [Variant("a", {"attention": "classical"}), Variant("b", {"attention": "qisa"})]
    chosen, tried = search_rates(variants, base, search, tmp_path)
    assert [v.changes["learning_rate"] for v in chosen] == [0.01, 0.001]
    assert [[trial["learning_rate"] for trial in trials] for trials in tried.values()] == [
        [0.0032, 0.01, 0.032], [0.00032, 0.001, 0.0032, 0.01, 0.032]
    ]  # fmt: skip
    falling = {0.1: 1.0, 0.32: 0.9, 1.0: 0.8, 3.2: 0.7, 10.0: 0.6}
    losses.update({("a", rate): loss for rate, loss in {0.032: 1.5, **falling}.items()})
    chosen, tried = search_rates(variants, base, search, tmp_path)
    assert chosen[0].changes["learning_rate"] == 3.2  # four beyond the grid, and no more
    losses.update({("b", rate): None for rate in search.rates})
    with pytest.raises(KetformerError, match="b: no finite loss at any of the rates"):
        search_rates(variants, base, search, tmp_path)


def test_a_rate_that_diverges_is_an_answer_and_is_not_tried_again(base, tmp_path, monkeypatch):
    hot = base.override({"learning_rate": 1e30, "seed": 1, "optim": "sgd", "max_grad_norm": 0})
    job = Job("classical", "rate", hot, tmp_path / "hot")
    assert job.run() == {"eval_loss": None}
    assert state_of(job) == "not finite"
    monkeypatch.setattr("ketformer.comparison.jobs.train", None)
    assert job.run() == {"eval_loss": None}
    monkeypatch.undo()
    with pytest.raises(NotFiniteError, match="step"):  # of a row it is a mistake
        Job("classical", "seed", hot, tmp_path / "row", {}).run()


def test_the_rows_are_trained_with_the_rates_that_were_chosen(ketformer, tiny, tmp_path):
    out = tmp_path / "c"
    args = ("classical", "qsann", "--preset", tiny, "--out", out, "--seeds", 1, "--jobs", 1)
    result = ketformer("compare", *args, "--max_steps", 6, "--json").json
    assert result["search"] == {"rates": [0.0032, 0.01, 0.032], "share": 1 / 3, "seed": 1042}
    for row in result["rows"]:
        tried = row["learning_rates"]
        rates = [trial["learning_rate"] for trial in tried]
        assert set(rates) >= set(result["search"]["rates"])
        assert rates == sorted(rates)
        best = min(tried, key=lambda trial: trial["eval_loss"])["learning_rate"]
        assert row["learning_rate"] == best
        settings = load_settings(str(out / f"{row['name']}-seed42" / SETTINGS_FILE))
        assert settings.training["learning_rate"] == best
        for trial in tried:
            path = out / "search" / f"{row['name']}-rate{trial['learning_rate']:.2g}-seed1042"
            assert metrics(path)[-1]["step"] == 2
            losses = [line["eval_loss"] for line in metrics(path) if "eval_loss" in line]
            assert trial["eval_loss"] == losses[-1]


# --- The same for all ----------------------------------------------------------------------------


def test_every_mechanism_sees_the_same_batches(base, tmp_path, monkeypatch):
    seen = {}

    def step(self, model, inputs, num_items_in_batch=None):
        seen.setdefault(model.config.attention, []).append(inputs["input_ids"].clone())
        return original(self, model, inputs, num_items_in_batch)

    original = SafeTrainer.training_step
    monkeypatch.setattr(SafeTrainer, "training_step", step)
    names = ("classical", "qsann", "qisa", "overlap")
    run_jobs(jobs_for(base, tmp_path, names, seeds=(5,)), progress=False)
    assert {len(batches) for batches in seen.values()} == {20}
    assert list(seen) == list(names)
    for batches in seen.values():
        assert all(map(torch.equal, batches, seen["classical"]))


def test_every_mechanism_and_control_can_be_matched(base):
    base = base.override({"hidden_size": 32, "intermediate_size": 128, "initializer_range": 0.02})
    rows = rows_of(
        ["classical", *(name for name in ATTENTION if name != "classical")], base, ["all"]
    )
    assert {"overlap_token_shift", "overlap_small_start"} < {row.name for row in rows}
    for variant in matched(rows, base, {"vocab_size": 30})[1:]:
        # Four linear maps of width 32, which `vqc_plain` has not, are worth 64.
        assert abs(variant.changes["intermediate_size"] - 128) <= 64


# --- Several processes ---------------------------------------------------------------------------


@contextmanager
def told_to_stop(when):
    """Within, this process gets SIGTERM as soon as that holds, as if from another one."""
    over = threading.Event()

    def watch():
        while not over.wait(0.01):
            if when():
                os.kill(os.getpid(), signal.SIGTERM)
                break

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()


def test_two_processes_told_to_stop_go_on_and_give_what_one_gives(ketformer, tiny, tmp_path):
    call = ("compare", "classical", "qisa", "--preset", tiny, "--seeds", 2, "--rates", 1, "--json")

    def checkpoints():
        return list((tmp_path / "two").glob("*/checkpoints/checkpoint-*"))

    with told_to_stop(checkpoints):
        stopped = ketformer(*call, "--jobs", 2, "--out", tmp_path / "two")
    assert (stopped.code, stopped.out) == (143, "")
    told = [line for line in stopped.err.splitlines() if line.startswith("ketformer: ")]
    assert len(told) == 1, stopped.err
    assert "stopped by SIGTERM" in told[0]
    assert "resume with: the same command" in told[0]
    assert "Traceback" not in stopped.err
    assert checkpoints()

    two = ketformer(*call, "--jobs", 2, "--out", tmp_path / "two")
    assert "[4/4]" in two.err
    one = ketformer(*call, "--jobs", 1, "--out", tmp_path / "one")
    for row, twin in zip(one.json["rows"], two.json["rows"], strict=True):
        assert row["cross_entropy"] == twin["cross_entropy"]
    folders = [path.parent.name for path in (tmp_path / "one").glob("*/metrics.jsonl")]
    assert len(folders) == 4
    for name in folders:
        first, second = (without_times(metrics(tmp_path / way / name)) for way in ("one", "two"))
        assert first == second


def compare_as_process(tiny, out, steps):
    args = ("classical", "qisa", "--preset", tiny, "--seeds", 2, "--rates", 1, "--out", out)
    return start("compare", *args, "--max_steps", steps, "--jobs", 2, "--json")


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    """The rows of the same comparison, whose processes nobody kills."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    printed, _ = compare_as_process(tiny, out, steps=400).communicate(timeout=400)
    return json.loads(printed)["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_a_process_that_is_killed_leaves_none_behind_and_the_rest_goes_on(
    tiny, uninterrupted, tmp_path, victim
):
    out = tmp_path / "killed"
    process = compare_as_process(tiny, out, steps=400)
    while len(list(out.glob("*/checkpoints/checkpoint-*"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))
    children = children_of(process.pid)
    assert len(children) >= 2
    if victim == "parent":
        process.kill()
        process.communicate(timeout=60)
    else:
        os.kill(children[-1], signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert "died (signal 9); the same command goes on from what was saved last" in err
        assert "Traceback" not in err
    for _ in range(600):
        if not any(map(lives, children)):
            break
        time.sleep(0.1)
    assert not any(map(lives, children))
    printed, err = compare_as_process(tiny, out, steps=400).communicate(timeout=400)
    for row, twin in zip(json.loads(printed)["rows"], uninterrupted, strict=True):
        for key in ("weights_sha256", "cross_entropy", "prefix_cross_entropy", "paired"):
            assert row[key] == twin[key], (key, err)


def children_of(pid):
    """Processes that it has started and that train: Python's resource tracker is none of them."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {int(p): Path(f"/proc/{p}/cmdline").read_text() for p in listed}
    return [p for p, command in commands.items() if "spawn_main" in command]


def lives(pid):
    return Path(f"/proc/{pid}").exists()


def test_a_mistake_in_a_worker_is_one_line_and_stops_the_others(base, tmp_path):
    jobs = jobs_for(base, tmp_path)
    wrong = base.override({"attention_options": {"temperature": -1.0}, "seed": 5})
    with pytest.raises(KetformerError, match="temperature must be positive"):
        run_jobs([Job("wrong", "seed 5", wrong, tmp_path / "wrong"), *jobs], processes=2)


def test_a_worker_may_start_processes_of_its_own(tiny_molecules, tmp_path):
    """RDKit judges more than 2,000 samples in several; a daemon could not start them."""
    base = load_settings(tiny_molecules).override({"max_steps": 2, "seed": 5})
    jobs = [
        Job(name, "seed 5", base, tmp_path / name, {"samples": 2_001, "with_fcd": False})
        for name in ("one", "two")
    ]
    (by_worker,) = run_in_processes(Job.run, jobs[:1], processes=1)
    assert by_worker["sampled"] == 2_001
    assert by_worker["validity"] == jobs[1].run()["validity"]


# --- What is shown -------------------------------------------------------------------------------


@pytest.fixture
def finished(base, tmp_path):
    """One job that is done."""
    (job,) = jobs_for(base, tmp_path, names=("classical",), seeds=(5,), evaluation={})
    job.run()
    return job


def test_the_table_shows_what_the_folders_say(finished, base, tmp_path):
    def copy(name, *missing):
        shutil.copytree(finished.path, tmp_path / name)
        for file in missing:
            (tmp_path / name / file).unlink()
        return Job(name, "seed 5", base, tmp_path / name, {})

    measuring = copy("measuring", "evaluation.json")
    training = copy("training", "evaluation.json", "model.safetensors")
    waiting = Job("waiting", "seed 6", base, tmp_path / "waiting", {})
    kept = metrics(training.path)
    write_metrics(training.path, [row for row in kept if row["step"] <= 15])
    (loss,) = {row["eval_loss"] for row in kept if row["step"] == 10 and "eval_loss" in row}
    value = json.loads((finished.path / "evaluation.json").read_text())["prefix_cross_entropy"]
    jobs = [finished, measuring, training, waiting]
    assert [state_of(job) for job in jobs] == [
        f"{value:.4f}", "measuring", f"step 15/20 {loss:.4f}", "waiting",
    ]  # fmt: skip
    board = Board(jobs, shown=True)
    board.done = 1
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(board.table())
    shown = console.export_text()
    assert "1 of 4 runs" in shown
    assert "about" in shown
    rows = {line.split()[0]: line for line in shown.splitlines()[1:] if line.strip()}
    assert f"{value:.4f}" in rows["classical"]
    assert "step 15/20" in rows["training"]


def test_without_a_terminal_each_finished_run_is_a_line(finished, capsys):
    run_jobs([finished], progress=True)
    assert capsys.readouterr().err.startswith("[1/1] classical, seed 5: ")
    run_jobs([finished], progress=False)
    assert capsys.readouterr().err == ""


def test_a_signal_is_not_swallowed(base, tmp_path, monkeypatch):
    """In one process the training itself listens, saves, and ends the comparison."""
    (job,) = jobs_for(base, tmp_path, names=("classical",), seeds=(5,))

    def stop(*_, **__):
        raise Stopped("stopped", signal.SIGTERM, job.path)

    monkeypatch.setattr("ketformer.comparison.jobs.train", stop)
    with pytest.raises(Stopped):
        run_jobs([job], progress=False)
