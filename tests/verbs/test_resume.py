"""``ketformer train --resume``: a run that was stopped ends as if it had not been."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ketformer import training

from .helpers import largest_difference, metrics, small_text, subprocess_environment, write_settings

# Written at wall-clock time; everything else in metrics.jsonl must repeat.
_TIMES = ("runtime", "per_second")


def without_times(rows):
    return [
        {key: value for key, value in row.items() if not key.endswith(_TIMES)}
        for row in rows
        if "train_runtime" not in row  # its mean loss is of the steps since the resume
    ]


@contextmanager
def ctrl_c(step, when="on_step_end"):
    """Presses Ctrl-C at the end of that step."""

    def interrupt(self, args, state, control, **_):
        if state.global_step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Progress, when, interrupt)
        yield


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
    with ctrl_c(step):
        assert ketformer("train", tiny, "--out", parts, *options).code == 130
    assert not (parts / "model.safetensors").exists()
    assert ketformer("train", "--out", parts, "--resume").code == 0
    assert largest_difference(whole, parts) == 0
    assert without_times(metrics(parts)) == without_times(metrics(whole))


def test_a_run_stopped_after_its_last_step_gets_no_further_one(ketformer, tiny, honest, tmp_path):
    with ctrl_c(20, when="on_train_end"):
        assert ketformer("train", tiny, "--out", tmp_path / "run").code == 130
    done = ketformer("train", "--out", tmp_path / "run", "--resume", "--json")
    assert (done.code, done.json["steps"]) == (0, 20)
    assert largest_difference(honest, tmp_path / "run") == 0


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


_KILLED = """
import os, signal, sys
from ketformer import cli, training

def kill(self, args, state, control, **_):
    if state.global_step == 12:
        os.kill(os.getpid(), signal.SIGKILL)

training._Progress.on_step_end = kill
cli.main(sys.argv[1:])
"""


def test_a_killed_process_loses_nothing_but_the_steps_since_its_checkpoint(
    ketformer, tiny, honest, tmp_path
):
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, "train", tiny, "--out", tmp_path / "run"],
        env=subprocess_environment(),
        capture_output=True,
        timeout=200,
    )
    assert killed.returncode == -signal.SIGKILL
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
    assert largest_difference(honest, tmp_path / "run") == 0
    assert without_times(metrics(tmp_path / "run")) == without_times(metrics(honest))


def test_an_incomplete_checkpoint_is_passed_over_with_a_warning(ketformer, tiny, honest, tmp_path):
    with ctrl_c(18):
        ketformer("train", tiny, "--out", tmp_path / "run")
    newest = tmp_path / "run/checkpoints/checkpoint-15"
    (newest / "trainer_state.json").unlink()  # Trainer writes it last
    (newest / "optimizer.pt").write_bytes(b"half a file")
    done = ketformer("train", "--out", tmp_path / "run", "--resume")
    assert done.code == 0
    assert "ketformer: warning: " in done.err
    assert "checkpoint-15 is incomplete; the one used is checkpoint-10" in done.err
    assert largest_difference(honest, tmp_path / "run") == 0


def test_a_line_of_metrics_cut_off_by_a_kill_does_no_harm(ketformer, tiny, honest, tmp_path):
    with ctrl_c(12):
        ketformer("train", tiny, "--out", tmp_path / "run")
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    assert ketformer("train", "--out", tmp_path / "run", "--resume").code == 0
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
