"""``ketformer train --resume``: a stopped run ends as if it had not been stopped."""

import json
import os
import shutil
import signal

import pytest

from commands import (
    at_step,
    cut_off,
    files_in,
    forked,
    largest_difference,
    metrics,
    small_text,
    somebody_in,
    without_times,
    write_settings,
)
from ketformer.training.callbacks import ProgressBar
from ketformer.training.checkpoints import publish


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (2, ()),  # before the first checkpoint
        (7, ()),
        (10, ()),  # logged and not yet saved
        (18, ("--attention", "qisa")),
        (7, ("--attention", "qsann")),
        (12, ("--resid_pdrop", 0.2, "--attn_pdrop", 0.1)),
        (12, ("--lr_scheduler_type", "cosine", "--warmup_steps", 4, "--resid_pdrop", 0.2)),
        (7, ("--gradient_accumulation_steps", 2)),
    ],
    ids=str,
)
def test_stop_and_resume_equals_uninterrupted(ketformer, tiny, tmp_path, step, options):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert ketformer("train", tiny, "--out", whole, *options).code == 0
    with cut_off(step):
        assert ketformer("train", tiny, "--out", parts, *options).code == 130
    assert not (parts / "model.safetensors").exists()
    assert ketformer("train", "--out", parts, "--resume").code == 0
    assert largest_difference(whole, parts) == 0
    assert without_times(metrics(parts)) == without_times(metrics(whole))


def test_a_resumed_run_saves_logs_and_evaluates_as_often_as_it_is_told(ketformer, tiny, tmp_path):
    out = ("--out", tmp_path / "run")
    assert ketformer("train", tiny, *out, "--max_steps", 10).code == 0
    often = ("--save_steps", 3, "--logging_steps", 2, "--eval_steps", 4)
    assert ketformer("train", *out, "--resume", "--max_steps", 20, *often).code == 0
    saved = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert saved == {f"checkpoint-{step}" for step in (12, 15, 18, 20)}
    rows = [row for row in metrics(tmp_path / "run") if row["step"] > 10]
    assert [row["step"] for row in rows if "loss" in row] == [12, 14, 16, 18, 20]
    assert [row["step"] for row in rows if "eval_loss" in row] == [12, 16, 20]


def test_a_run_stopped_after_its_last_step_gets_no_further_one(ketformer, tiny, honest, tmp_path):
    with cut_off(20, when="on_train_end"):
        assert ketformer("train", tiny, "--out", tmp_path / "run").code == 130
    done = ketformer("train", "--out", tmp_path / "run", "--resume", "--json")
    assert (done.code, done.json["steps"]) == (0, 20)
    assert largest_difference(honest, tmp_path / "run") == 0


@pytest.mark.parametrize(("step", "when"), [(12, "on_step_end"), (20, "on_train_end")])
def test_the_best_weights_survive_a_stop(ketformer, tiny, tmp_path, step, when):
    best = ("--load_best_model_at_end", "true", "--eval_steps", 5, "--save_total_limit", 2)
    # The highest loss counts as the best, which is the first: the loss falls on every machine.
    options = (*best, "--metric_for_best_model", "eval_loss", "--greater_is_better", "true")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert ketformer("train", tiny, "--out", whole, *options).code == 0
    kept = {path.name for path in (whole / "checkpoints").iterdir()}
    assert kept == {"checkpoint-5", "checkpoint-20"}
    assert largest_difference(whole, whole / "checkpoints/checkpoint-5") == 0
    with cut_off(step, when):
        assert ketformer("train", tiny, "--out", parts, *options).code == 130
    assert ketformer("train", "--out", parts, "--resume").code == 0
    assert largest_difference(whole, parts) == 0


def test_a_finished_run_resumed_stays_as_it_is(ketformer, honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    done = ketformer("train", "--out", tmp_path / "run", "--resume", "--json")
    assert (done.code, done.json["steps"]) == (0, 20)
    assert largest_difference(honest, tmp_path / "run") == 0
    assert metrics(tmp_path / "run") == metrics(honest)


def test_a_finished_run_goes_on_to_more_steps(ketformer, tiny, honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    more = ("--max_steps", 30)
    assert ketformer("train", "--out", tmp_path / "run", "--resume", *more).code == 0
    assert ketformer("train", tiny, "--out", tmp_path / "whole", *more).code == 0
    assert largest_difference(tmp_path / "whole", tmp_path / "run") == 0


def die_at_step_12():
    """In another process: kill it at the end of that step."""

    def kill(self, args, state, control, **_):
        if state.global_step == 12:
            os.kill(os.getpid(), signal.SIGKILL)

    ProgressBar.on_step_end = kill


def test_a_killed_process_loses_nothing_but_the_steps_since_its_checkpoint(
    ketformer, tiny, honest, tmp_path
):
    killed = forked("train", tiny, "--out", tmp_path / "run", at_its_start=die_at_step_12)
    killed.join(200)
    assert killed.exitcode == -signal.SIGKILL
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
    assert largest_difference(honest, tmp_path / "run") == 0
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(honest))


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    part, target = tmp_path / ".part/checkpoint-5", tmp_path / "checkpoint-5"
    part.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (part / name).write_bytes(b"\0")
    synced = set()

    def fsync(descriptor):
        assert not target.exists()
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    publish(part, target, processes=1)
    written = {path.stat().st_ino: path.name for path in target.iterdir()}
    assert {written[number] for number in synced} == {"model.safetensors", "optimizer.pt"}


_DAMAGES = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "one bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "emptied": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "of no number": lambda path: path.write_text('{"processes": "two", "files": {}}'),
    "of files elsewhere": lambda path: path.write_text(
        '{"processes": 1, "files": {"../../settings.yaml": ""}}'
    ),
}


def flipped(content):
    """The content with its last bit flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("optimizer.pt", "cut short", "optimizer.pt has changed since it was written"),
        ("model.safetensors", "one bit", "model.safetensors has changed since it was written"),
        ("rng_state.pth", "missing", "rng_state.pth is missing"),
        ("trainer_state.json", "emptied", "trainer_state.json has changed since it was written"),
        ("whole.json", "cut short", "no readable whole.json"),
        ("whole.json", "missing", "no readable whole.json"),
        ("whole.json", "of no number", "no readable whole.json"),
        ("whole.json", "of files elsewhere", "../../settings.yaml lies outside the checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    ketformer, tiny, honest, tmp_path, name, damage, told
):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    shutil.rmtree(run / "checkpoints/checkpoint-20")
    (run / "model.safetensors").unlink()
    _DAMAGES[damage](run / "checkpoints/checkpoint-15" / name)
    done = ketformer("train", "--out", run, "--resume")
    assert done.code == 0
    (warning,) = [line for line in done.err.splitlines() if "warning: " in line]
    assert f"checkpoint-15 is incomplete ({told}); resuming from checkpoint-10" in warning
    assert largest_difference(honest, run) == 0
    assert without_times(metrics(run)) == without_times(metrics(honest))
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {f"checkpoint-{step}" for step in (5, 10, 15, 20)}


def test_a_damaged_checkpoint_does_not_push_out_a_whole_one(ketformer, tiny, tmp_path):
    run = tmp_path / "run"
    with cut_off(17):
        ketformer("train", tiny, "--out", run)
    _DAMAGES["emptied"](run / "checkpoints/checkpoint-15/model.safetensors")
    with at_step(12, lambda: signal.raise_signal(signal.SIGTERM)):
        # Only the newest is kept, and 15 is later than 12.
        ketformer("train", "--out", run, "--resume", "--save_total_limit", 1)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["checkpoint-12"]


def test_without_a_whole_checkpoint_training_starts_anew(ketformer, tiny, honest, tmp_path):
    run = tmp_path / "run"
    with cut_off(7):
        ketformer("train", tiny, "--out", run)
    _DAMAGES["emptied"](run / "checkpoints/checkpoint-5/model.safetensors")
    done = ketformer("train", "--out", run, "--resume")
    assert "starting from scratch" in done.err
    assert largest_difference(honest, run) == 0


def test_a_line_of_metrics_cut_off_by_a_kill_does_no_harm(ketformer, tiny, honest, tmp_path):
    with cut_off(12):
        ketformer("train", tiny, "--out", tmp_path / "run")
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(honest))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("step", [1, 7, 10])  # logged and saved are 5, 10, 15, 20
def test_a_signal_ends_the_run_after_its_step(ketformer, tiny, honest, tmp_path, number, step):
    run, options = tmp_path / "run", ("--resid_pdrop", 0.1)
    assert ketformer("train", tiny, "--out", tmp_path / "whole", *options).code == 0
    with at_step(step, lambda: signal.raise_signal(number)):
        done = ketformer("train", tiny, "--out", run, *options)
    assert done.code == 128 + number
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert f"stopped by {number.name} after step {step}, which is saved in {run}" in line
    assert line.endswith(f"resume with: ketformer train --out {run} --resume")
    assert (run / f"checkpoints/checkpoint-{step}").is_dir()
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert largest_difference(tmp_path / "whole", run) == 0
    assert without_times(metrics(run)) == without_times(metrics(tmp_path / "whole"))


def test_a_signal_that_is_ignored_stays_so(ketformer, tiny, honest, tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` sets it
    try:
        with at_step(7, lambda: signal.raise_signal(signal.SIGINT)):
            assert ketformer("train", tiny, "--out", tmp_path / "run").code == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(honest))


def test_a_signal_in_the_last_step_lets_the_run_finish(ketformer, tiny, honest, tmp_path):
    with at_step(20, lambda: signal.raise_signal(signal.SIGTERM)):
        assert ketformer("train", tiny, "--out", tmp_path / "run").code == 0
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(honest))


def test_resume_with_nothing_to_resume_starts_anew(ketformer, tiny, honest, tmp_path):
    assert ketformer("train", tiny, "--out", tmp_path / "new", "--resume").code == 0
    assert largest_difference(honest, tmp_path / "new") == 0


def test_resume_needs_a_preset_or_a_run(ketformer, tmp_path):
    ketformer("train", "--resume", "--out", tmp_path / "none").assert_mistake("name a preset")


def test_resume_keeps_to_the_model_the_data_and_the_name(ketformer, text, tmp_path):
    own_text = tmp_path / "own.txt"
    own_text.write_bytes(text.read_bytes())
    run, settings = tmp_path / "run", write_settings(tmp_path / "own.yaml", own_text)
    assert ketformer("train", settings, "--out", run).code == 0
    manifest = json.loads((run / "manifest.json").read_text())
    resume = ("train", "--out", run, "--resume")

    ketformer(*resume, "--hidden_size", 16).assert_mistake("another model")
    ketformer(*resume, "--attention", "qisa").assert_mistake("another model")
    ketformer(*resume, "--split", "published").assert_mistake("another split")
    ketformer(*resume, "char-gpt").assert_mistake("was made from tiny")
    own_text.write_text(small_text(seed=1))
    ketformer(*resume).assert_mistake("other data")
    # A refused resume leaves the run as it was.
    assert json.loads((run / "manifest.json").read_text()) == manifest


def test_a_run_is_trained_by_one_process_at_a_time(ketformer, tiny, honest, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    with somebody_in(tmp_path / "run"):
        before = files_in(tmp_path / "run")
        for command in ((tiny,), ("--resume", "--max_steps", 30)):
            done = ketformer("train", *command, "--out", tmp_path / "run")
            done.assert_mistake(f"{tmp_path / 'run'}: in use by process")
        assert files_in(tmp_path / "run") == before
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
