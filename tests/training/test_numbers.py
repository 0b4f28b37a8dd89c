"""A non-finite loss or gradient ends ``ketformer train``, and costs nothing."""

import json

import pytest
import torch

from commands import largest_difference
from ketformer.models import KetformerForCausalLM
from ketformer.training import callbacks

_PARAMETER = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def spoiled(monkeypatch):
    """``spoiled(call, what)``: the forward pass goes wrong at that call; returns its inputs."""

    def patch(at, what):
        calls, forward = [], KetformerForCausalLM.forward

        def wrong(self, *args, **kwargs):
            out = forward(self, *args, **kwargs)
            if self.training:
                calls.append(kwargs["input_ids"].tolist())
                if len(calls) == at:
                    what(self, out)
            return out

        monkeypatch.setattr(KetformerForCausalLM, "forward", wrong)
        return calls

    return patch


def loss_of(value):
    def change(model, out):
        out.loss = out.loss * value

    return change


def gradient_of(value):
    """The loss stays unchanged; one parameter's gradient is ``value``."""

    def change(model, out):
        parameter = model.get_parameter(_PARAMETER)
        handle = parameter.register_hook(lambda g: handle.remove() or torch.full_like(g, value))

    return change


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (loss_of(float("nan")), "the loss is nan"),
        (loss_of(float("inf")), "the loss is inf"),
        (gradient_of(float("nan")), f"the gradient of {_PARAMETER} is the first"),
        (gradient_of(-float("inf")), f"the gradient of {_PARAMETER} is the first"),
    ],
    ids=["loss nan", "loss inf", "gradient nan", "gradient -inf"],
)
def test_the_step_the_batch_and_the_parameter_are_named(
    ketformer, tiny, honest, spoiled, tmp_path, monkeypatch, what, told
):
    run = tmp_path / "run"
    batches = spoiled(13, what)
    done = ketformer("train", tiny, "--out", run)
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert done.code == 2
    assert line.startswith("ketformer: error: step 13: the loss is ")
    assert told in line
    assert f"the batch is saved in {run}/not_finite.json" in line
    assert f"checkpoint-10 in {run} is complete; resume from it with --resume" in line
    kept = json.loads((run / "not_finite.json").read_text())
    assert kept["step"] == 13
    assert kept["batch"]["input_ids"] == batches[12]
    monkeypatch.undo()
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert largest_difference(honest, run) == 0


def test_no_checkpoint_of_weights_that_are_no_numbers(ketformer, tiny, tmp_path, monkeypatch):
    def overflow(self, args, state, control, model, **_):
        if state.global_step == 10:
            model.get_parameter(_PARAMETER).data[0, 0] = float("inf")

    monkeypatch.setattr(callbacks.ProgressBar, "on_step_end", overflow)
    run = tmp_path / "run"
    done = ketformer("train", tiny, "--out", run)
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert done.code == 2
    assert f"step 10: the optimiser made {_PARAMETER} infinite or not a number" in line
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["checkpoint-5"]
