"""The command as a process: under ``torchrun``, as ``python -m ketformer``."""

import json

from .helpers import largest_difference, metrics, run_process

_TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


def test_two_processes_train_as_one_with_twice_the_batch(tiny, honest, tmp_path):
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


def test_the_module_is_the_command():
    assert run_process("audit", "--attention", "classical", "--json").json["causal"] is True
