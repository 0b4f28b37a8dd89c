"""Runs that are killed, run out of disk, or lose another process: nothing is lost."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from commands import (
    forked,
    largest_difference,
    metrics,
    run_process,
    start,
    without_times,
    write_settings,
)
from ketformer.cli import main
from ketformer.training import callbacks

# --- Kills ---------------------------------------------------------------------------------------


def saving_always(text, folder, steps):
    """A settings file that saves a checkpoint after each step, and its uninterrupted run."""
    training = {
        "max_steps": steps,
        "save_steps": 1,
        "save_total_limit": 2,
        "learning_rate": 1e-3,
        "eval_steps": 50,
    }
    settings = write_settings(
        folder / "saving.yaml", text, model={"resid_pdrop": 0.1}, training=training
    )
    assert main(["train", settings, "--out", str(folder / "whole")]) == 0
    return settings, folder / "whole"


def newest(run):
    """The step of the newest checkpoint, 0 without one."""
    steps = [int(path.name.split("-")[1]) for path in run.glob("checkpoints/checkpoint-*")]
    return max(steps, default=0)


def wait_for_a_step(lives, run):
    """Wait until a process, as long as it ``lives()``, has saved a checkpoint itself."""
    begun = newest(run)
    while newest(run) == begun and lives():
        time.sleep(0.002)


def kill_and_resume(settings, run, kills, draw, seconds):
    """Kill that many processes, each a moment after its first step, and let the last one finish.

    Returns:
        How many died while writing a checkpoint, and the warnings of the later processes.
    """
    in_writing, warnings = 0, []
    for _ in range(kills):
        errors = run.with_name("errors.txt")
        process = forked("train", settings, "--out", run, "--resume", errors=errors)
        wait_for_a_step(process.is_alive, run)
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.join(60)
        err = errors.read_text()
        assert process.exitcode == -signal.SIGKILL, err  # or it ended before the kill
        in_writing += (run / "checkpoints/.part").exists()
        warnings += [line for line in err.splitlines() if "warning" in line]
    assert main(["train", settings, "--out", str(run), "--resume"]) == 0
    return in_writing, warnings


def check_equal(run, whole):
    assert largest_difference(whole, run) == 0
    assert without_times(metrics(run)) == without_times(metrics(whole))
    assert not list(run.glob("checkpoints/.part")) + list(run.glob(".model.part"))


def test_killed_twice_the_weights_are_the_same(text, tmp_path):
    settings, whole = saving_always(text, tmp_path, 40)
    kill_and_resume(settings, tmp_path / "run", 2, random.Random(0), 0.3)
    check_equal(tmp_path / "run", whole)


@pytest.mark.slow
def test_killed_twenty_times_the_weights_are_the_same(text, tmp_path, capsys):
    settings, whole = saving_always(text, tmp_path, 200)
    in_writing, warnings = kill_and_resume(settings, tmp_path / "run", 20, random.Random(1), 0.3)
    check_equal(tmp_path / "run", whole)
    assert in_writing > 0  # some kills hit a checkpoint write
    told = [line for line in warnings if "was not fully written" in line]
    assert len(told) >= in_writing - 1  # the last one tells the process that finishes
    with capsys.disabled():
        print(f"\n20 kills, {in_writing} of them while a checkpoint was written")


# --- A full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(kilobytes)``: a folder on a disk of that size."""
    folder, mounted = tmp_path / "disk", []

    def mount(kilobytes):
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(  # each fills up in another file
    ("kilobytes", "report_to"), [(220, "none"), (260, "tensorboard"), (300, "none")]
)
def test_a_full_disk_is_one_line_and_costs_nothing(
    ketformer, tiny, honest, small_disk, kilobytes, report_to
):
    disk = small_disk(kilobytes)
    run = disk / "run"
    options = ("--save_steps", 1, "--save_total_limit", 20, "--report_to", report_to)
    done = ketformer("train", tiny, "--out", run, *options)
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if "error" in line or "Error" in line]
    assert line.startswith("ketformer: error: ")
    assert "No space left on device" in line
    last = newest(run)
    assert 0 < last < 20
    assert f"checkpoint-{last} in {run} is complete; resume from it with --resume" in line
    subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert largest_difference(honest, run) == 0
    assert without_times(metrics(run)) == without_times(metrics(honest))


def test_a_disk_that_is_full_between_checkpoints_is_one_line(
    ketformer, tiny, tmp_path, monkeypatch
):
    def full(self, args, state, control, **_):
        if state.global_step == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))

    monkeypatch.setattr(callbacks.MetricsFile, "on_log", full)
    done = ketformer("train", tiny, "--out", tmp_path / "run")
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert done.code == 2
    assert line.startswith("ketformer: error: No space left on device; checkpoint-5 in")


# --- Several processes ---------------------------------------------------------------------------

_TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


@pytest.fixture(scope="module")
def long(text, tmp_path_factory):
    """A settings file of 200 steps, and an uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("long")
    training = {"max_steps": 200, "save_steps": 20, "eval_steps": 100, "logging_steps": 50}
    settings = write_settings(
        folder / "long.yaml", text, model={"resid_pdrop": 0.1}, training=training
    )
    done = run_process("train", settings, "--out", folder / "whole", launcher=_TORCHRUN)
    assert done.code == 0, done.err
    return settings, folder / "whole"


def workers_of(process):
    """The processes that torchrun started, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            given = (path / "environ").read_bytes().split(b"\0")
            ranks = [int(pair[5:]) for pair in given if pair.startswith(b"RANK=")]
            if parent == process.pid and ranks:
                found[ranks[0]] = int(path.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("rank", "number", "told"),
    [
        (1, signal.SIGKILL, "another of the 2 processes has died; checkpoint-"),
        (0, signal.SIGTERM, "stopped by SIGTERM after step"),
        (1, signal.SIGTERM, "stopped by SIGTERM after step"),
    ],
)
def test_a_worker_of_torchrun_ends_the_run_with_a_line(long, tmp_path, rank, number, told):
    settings, whole = long
    run = tmp_path / "run"
    process = start("train", settings, "--out", run, launcher=_TORCHRUN)
    wait_for_a_step(lambda: process.poll() is None, run)
    os.kill(workers_of(process)[rank], number)
    _, err = process.communicate(timeout=60)
    assert process.returncode
    lines = [line for line in err.splitlines() if line.startswith("ketformer: error: ")]
    assert lines, err
    assert all(told in line for line in lines), err
    assert 0 < newest(run) < 200
    done = run_process("train", "--out", run, "--resume", launcher=_TORCHRUN)
    assert done.code == 0, done.err
    assert largest_difference(whole, run) == 0
    assert without_times(metrics(run)) == without_times(metrics(whole))
