"""The command as a process: under ``torchrun``, as ``python -m ketformer``."""

import json

from ketformer.wholeness import flaw_of

from .helpers import largest_difference, metrics, run_process

_TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


def test_two_processes_train_as_one_with_twice_the_batch(ketformer, tiny, honest, tmp_path):
    half = ("--per_device_train_batch_size", 8)
    done = run_process(
        "train", tiny, "--out", tmp_path / "two", "--json", *half, launcher=_TORCHRUN
    )
    assert done.code == 0, done.err
    assert done.json["steps"] == 20  # one object, though two processes ran
    assert largest_difference(honest, tmp_path / "two") < 1e-5
    assert json.loads((tmp_path / "two/manifest.json").read_text())["processes"] == 2
    steps = [row["step"] for row in metrics(tmp_path / "two") if "loss" in row]
    assert steps == [5, 10, 15, 20]  # nor does each process write its own lines

    # A checkpoint is whole with what each process has of its own, and not without.
    newest = tmp_path / "two/checkpoints/checkpoint-20"
    assert flaw_of(newest) is None
    (newest / "rng_state_1.pth").unlink()
    assert flaw_of(newest) == "rng_state_1.pth is missing"
    resumed = ketformer("train", "--out", tmp_path / "two", "--resume")
    assert "checkpoint-15 was written by 2 processes, not 1" in resumed.err


def test_the_module_is_the_command():
    assert run_process("audit", "--attention", "classical", "--json").json["causal"] is True
