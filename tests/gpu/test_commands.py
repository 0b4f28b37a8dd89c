"""The commands on a GPU, from training to a comparison, and models converted there."""

import json

import pytest
import torch

import ketformer as kf
from commands import cut_off, largest_difference, metrics, without_times
from conversion.helpers import MODELS, small_model, some_ids


def test_a_run_is_trained_and_used_on_the_gpu(honest, ketformer):
    """And what it says of itself names the GPU."""
    manifest = json.loads((honest / "manifest.json").read_text())
    assert manifest["machine"]["gpu"] == torch.cuda.get_device_name()
    for verb in ("evaluate", "generate", "report"):
        outcome = ketformer(verb, honest)
        assert outcome.code == 0, outcome.err


def test_the_audit_finds_a_leak(honest, leaky, ketformer):
    found = [ketformer("audit", run, "--json").json for run in (honest, leaky)]
    assert [row["causal"] for row in found] == [True, False]
    assert found[0]["max_future_influence"] == 0


def test_a_comparison(tiny, ketformer):
    outcome = ketformer("compare", "classical", "overlap", "--preset", tiny, "--seeds", 2, "--json")
    assert outcome.code == 0, outcome.err
    rows = outcome.json["rows"]
    assert [row["name"] for row in rows] == ["classical", "overlap"]


def test_a_run_that_was_cut_off_goes_on(tiny, ketformer, tmp_path):
    """To the weights of one that was not: the GPU's random numbers are saved, too."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    options = ["--attention", "overlap", "--resid_pdrop", "0.1"]
    assert ketformer("train", tiny, "--out", whole, *options).code == 0
    with cut_off(7):
        ketformer("train", tiny, "--out", part, *options)
    assert ketformer("train", tiny, "--out", part, *options, "--resume").code == 0
    assert largest_difference(whole, part) < 1e-6
    assert without_times(metrics(whole))[-1] == pytest.approx(without_times(metrics(part))[-1])


@pytest.mark.parametrize("name", MODELS)
def test_a_converted_model_gives_the_cpu_s_numbers(gpu, name):
    torch.manual_seed(0)
    model = kf.convert(small_model(name), "overlap", init="random").double()
    ids = some_ids(2, 12)
    with torch.inference_mode():
        expected = model(ids).logits
        found = model.to(gpu)(ids.to(gpu)).logits.cpu()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


def test_a_model_is_fitted_on_the_gpu(gpu):
    how = kf.Distillation(steps=30, batch_size=8, learning_rate=1e-2, progress=False)
    model = kf.convert(
        small_model("llama").to(gpu), "overlap", calibration=some_ids(40, 12), distillation=how
    )
    assert next(model.parameters()).is_cuda
    for row in model.conversion["distillation"]["layers"]:
        assert row["held_out_end"] < row["held_out_start"]
