"""The command as a process, and as one of several: ``torchrun``, ``accelerate launch``, FSDP.

Weights of equal runs differ by float32's rounding alone, 1e-5 at most: sums are split among
processes and accumulated batches.
"""

import json
import shutil
import socket
from pathlib import Path

import pytest

from commands import (
    largest_difference,
    metrics,
    run_process,
    weights,
    write_molecule_settings,
)
from ketformer.cli import main
from ketformer.training import arguments as training_arguments
from ketformer.training.checkpoints import flaw_of
from mechanisms import MECHANISMS

_ROUNDING = 1e-5
_TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
_ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"),
)
_HALF = ("--per_device_train_batch_size", 8)
# Some angles have no effect. Adam would make steps of the rounding errors in their gradients.
_CALM = ("--adam_epsilon", 1e-3)
_TUNED = ("--lora_rank", 2, "--learning_rate", 1e-2, "--max_steps", 4, "--report_to", "none")
_SHORT = ("--max_steps", 4, "--save_strategy", "no", "--eval_strategy", "no", *_CALM)
# Through the end of an epoch.
_RANDOM = ("--randomise_smiles", "true", "--max_steps", 16, "--save_steps", 16)


def train_in_turn(commands, folder):
    """Calls of ``ketformer train`` by two processes, started once."""
    file, script = folder / "commands.json", Path(__file__).with_name("in_turn.py")
    file.write_text(json.dumps([["train", *map(str, command)] for command in commands]))
    done = run_process(file, launcher=_TORCHRUN, program=script)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def by_torchrun(tiny, few, honest, tmp_path_factory):
    """The folder of runs of two processes.

    One to go on with, one on random SMILES, a whole one, one that begins with another, and a
    sharded one.
    """
    folder = tmp_path_factory.mktemp("torchrun")
    sharded = ("--out", folder / "sharded", "--max_steps")
    commands = [
        (few, "--out", folder / "begun", "--max_steps", 10, "--per_device_train_batch_size", 6),
        (few, "--out", folder / "random", *_RANDOM, "--per_device_train_batch_size", 6),
        (tiny, "--out", folder / "plain", "--json", *_HALF),
        ("--init", honest, "--out", folder / "tuned", *_TUNED, *_CALM, *_HALF),
        (tiny, *sharded, 10, *_HALF, "--fsdp", "true"),
        (*sharded, 20, "--resume"),
        (*sharded, 20, "--resume"),
    ]
    done = train_in_turn(commands, folder)
    (folder / "out.txt").write_text(done.out)
    return folder


def test_two_processes_begin_with_another_run(ketformer, by_torchrun, honest, tmp_path):
    batch = ("--per_device_train_batch_size", 16)
    given = ("--init", honest, "--out", tmp_path / "one", *_TUNED, *_CALM, *batch)
    assert ketformer("train", *given).code == 0
    assert largest_difference(tmp_path / "one", honest) > 0
    assert largest_difference(tmp_path / "one", by_torchrun / "tuned") < _ROUNDING


def copied(run, tmp_path):
    """A run to go on with, while others may look at it as it is."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def test_two_processes_train_as_one_with_twice_the_batch(ketformer, by_torchrun, honest, tmp_path):
    out = (by_torchrun / "out.txt").read_text()
    printed, end = json.JSONDecoder().raw_decode(out, out.index("\n{") + 1)
    assert printed["steps"] == 20
    assert "\n{" not in out[end:]  # one object, though two processes ran
    run = copied(by_torchrun / "plain", tmp_path)
    assert largest_difference(honest, run) < _ROUNDING
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["processes"], manifest["batch"], manifest["sharded"]) == (2, 16, False)
    steps = [row["step"] for row in metrics(run) if "loss" in row]
    assert steps == [5, 10, 15, 20]  # nor does each process write its own lines

    # A checkpoint is whole with what each process has of its own, and not without.
    newest = run / "checkpoints/checkpoint-20"
    assert flaw_of(newest) is None
    (newest / "rng_state_1.pth").unlink()
    assert flaw_of(newest) == "rng_state_1.pth is missing"
    resumed = ketformer("train", "--out", run, "--resume")
    assert "checkpoint-15 was written by 2 processes, not 1" in resumed.err


def test_two_processes_write_the_same_random_smiles_as_one(ketformer, by_torchrun, few, tmp_path):
    assert ketformer("train", few, "--out", tmp_path / "one", *_RANDOM).code == 0
    assert largest_difference(by_torchrun / "random", tmp_path / "one") < _ROUNDING


@pytest.fixture(scope="module")
def few(smiles, tmp_path_factory):
    """Settings of molecules, 180 to train on: 12 in each of the 15 steps of an epoch.

    Processes would fill up an incomplete last batch, each its own.
    """
    path = tmp_path_factory.mktemp("few") / "few.smi"
    path.write_text("\n".join(smiles[-200:]))
    training = {"max_steps": 30, "save_steps": 10, "eval_steps": 30, "adam_epsilon": 1e-3}
    training |= {"per_device_train_batch_size": 12}
    return write_molecule_settings(path.with_name("few.yaml"), path, training=training)


@pytest.fixture(scope="module")
def uninterrupted(few):
    """A run of one process."""
    out = Path(few).with_name("uninterrupted")
    assert main(["train", few, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_run_goes_on_under_other_launchers(ketformer, by_torchrun, uninterrupted, tmp_path):
    """Through the end of an epoch; the targets of all processes are counted in each step."""
    out = ("--out", copied(by_torchrun / "begun", tmp_path))
    resume = ("train", *out, "--resume", "--max_steps")
    accumulated = ("--per_device_train_batch_size", 3, "--gradient_accumulation_steps", 2)
    with socket.create_server(("localhost", 0)) as taken:
        # accelerate then leaves the choice to torchrun's store, which keeps the port that it has
        # found; a free one that accelerate finds is closed again, and may be another's by then.
        launcher = (*_ACCELERATE, str(taken.getsockname()[1]), "-m")
        done = run_process(*resume, 20, *accumulated, launcher=launcher)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run/manifest.json").read_text())["processes"] == 2
    done = ketformer(*resume, 30, "--per_device_train_batch_size", 6)  # twice accumulated
    assert done.code == 0
    assert "a step had" not in done.err
    assert largest_difference(uninterrupted, tmp_path / "run") < _ROUNDING
    assert [row["step"] for row in metrics(tmp_path / "run") if "loss" in row][-2:] == [25, 30]
    assert ketformer("evaluate", tmp_path / "run", "--json").code == 0


def test_accumulated_batches_equal_one_of_the_same_size(ketformer, few, uninterrupted, tmp_path):
    parts = ("--per_device_train_batch_size", 3, "--gradient_accumulation_steps", 4)
    assert ketformer("train", few, "--out", tmp_path / "run", *parts).code == 0
    assert largest_difference(uninterrupted, tmp_path / "run") < _ROUNDING


def test_a_resumed_run_with_another_batch_says_so(ketformer, tiny, honest, tmp_path):
    out = ("--out", tmp_path / "run")
    assert ketformer("train", tiny, *out, "--max_steps", 10).code == 0
    done = ketformer("train", *out, "--resume", "--max_steps", 20, *_HALF)
    assert done.code == 0
    assert "a step had 16 sequences and now has 8" in done.err


@pytest.mark.slow
def test_every_mechanism_trains_on_two_processes_whole_and_sharded(ketformer, tiny, tmp_path):
    runs = [(name, ("--attention", name, *_SHORT)) for name in MECHANISMS]
    for name, options in runs:
        assert ketformer("train", tiny, "--out", tmp_path / "one" / name, *options).code == 0
    two = [(tiny, "--out", tmp_path / "two" / name, *o, *_HALF) for name, o in runs]
    sharded = [
        (tiny, "--out", tmp_path / "sharded" / name, *o, *_HALF, "--fsdp", "true")
        for name, o in runs
    ]
    train_in_turn([*two, *sharded], tmp_path)
    for name in MECHANISMS:
        for way in ("two", "sharded"):
            assert largest_difference(tmp_path / "one" / name, tmp_path / way / name) < _ROUNDING


def test_a_sharded_run_is_whole_and_goes_on(ketformer, by_torchrun, honest, tmp_path):
    run = copied(by_torchrun / "sharded", tmp_path)
    assert largest_difference(honest, run) < _ROUNDING
    assert {str(w.dtype) for w in weights(run).values()} == {"torch.float32"}
    assert json.loads((run / "manifest.json").read_text())["sharded"] is True
    assert ketformer("evaluate", run, "--json").json["causal"] is True
    # Neither kind of checkpoint can be read as the other.
    back = ("train", "--out", run, "--resume", "--max_steps", 30, "--fsdp", "null")
    ketformer(*back).assert_mistake("checkpoint-20 is sharded; resume it with --fsdp true")


@pytest.mark.parametrize("asked", ["option", "launcher"])
def test_sharding_needs_gpus(ketformer, tiny, tmp_path, monkeypatch, asked):
    options = ("--fsdp", "true") if asked == "option" else ()
    if asked == "launcher":  # as `accelerate launch --use_fsdp` says it
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    done = ketformer("train", tiny, "--out", tmp_path / "run", "--use_cpu", "true", *options)
    done.assert_mistake("FSDP shards over GPUs")
    assert not (tmp_path / "run").exists()


def test_sharding_does_not_begin_from_a_whole_checkpoint(ketformer, honest, monkeypatch):
    monkeypatch.setattr(training_arguments, "_check_device", lambda arguments: None)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    done = ketformer("train", "--out", honest, "--resume", "--max_steps", 30)
    done.assert_mistake("checkpoint-20 is not sharded; resume it without FSDP")


def test_the_module_is_the_command():
    done = run_process("--help")
    assert done.code == 0
    assert done.out.startswith("usage: ketformer")
