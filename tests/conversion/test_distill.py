"""Warm starts: closer to the old model layer by layer, then in its logits, also on new rows."""

import numpy as np
import pytest
import torch

import ketformer
from conversion.helpers import VOCABULARY, assert_close, small_model, some_ids
from ketformer import Distillation
from ketformer.errors import KetformerError

FEW = {"steps": 60, "batch_size": 8, "learning_rate": 1e-2, "progress": False}
ROWS = some_ids(40, 12, seed=5)


def distilled(name="gpt2", attention="overlap", *, calibration=ROWS, how=None, **changes):
    torch.manual_seed(1)
    how = Distillation(**{**FEW, **(how or {})})
    return ketformer.convert(
        small_model(name), attention, calibration=calibration, distillation=how, **changes
    )


@pytest.mark.parametrize(
    ("name", "attention"),
    [("openai-gpt", "overlap"), ("gpt2", "qisa"), ("gpt_neox", "overlap"), ("llama", "overlap"),
     ("qwen2", "qisa"), ("qwen3", "classical_eq")],
)  # fmt: skip
def test_errors_fall_also_on_rows_that_were_held_out(name, attention):
    report = distilled(name, attention).conversion["distillation"]
    assert [row["layer"] for row in report["layers"]] == [0, 1]
    for row in report["layers"]:
        assert row["error_end"] < 0.9 * row["error_start"]
        assert row["held_out_end"] < row["held_out_start"]
    assert report["kl"]["attention"] < report["kl"]["start"]
    assert (report["rows"], report["held_out_rows"], report["tokens"]) == (36, 4, 36 * 12)


@torch.no_grad()
def test_the_error_is_that_of_the_outputs():
    """Recomputed from the attentions alone, for the first layer."""
    model = distilled()
    original = small_model()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    kept = ROWS[order][:4]
    states = original.transformer.h[0].ln_1(
        original.transformer.wte(kept) + original.transformer.wpe(torch.arange(12))
    )
    target = original.transformer.h[0].attn(states)[0].numpy()
    mixed = model.transformer.h[0].attn(states)[0].numpy()
    expected = np.square(mixed - target).sum() / np.square(target - target.mean((0, 1))).sum()
    found = model.conversion["distillation"]["layers"][0]["held_out_end"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_drawn_output_layers_are_solved_for_and_carried_ones_are_not():
    """With steps too small to do anything."""
    how = {"steps": 1, "learning_rate": 1e-7}
    for row in distilled("gpt2", "qisa", how=how).conversion["distillation"]["layers"]:
        assert row["error_end"] < 1 < row["error_start"]  # 1 is the error of the mean
    for row in distilled("gpt2", "overlap", how=how).conversion["distillation"]["layers"]:
        assert row["error_end"] == pytest.approx(row["error_start"], rel=1e-3)


def test_the_logits_stage_brings_the_distributions_closer():
    how = {"logit_steps": 60, "logit_learning_rate": 1e-2}
    kl = distilled("llama", how=how).conversion["distillation"]["kl"]
    assert kl["logits"] < 0.9 * kl["attention"] < 0.9 * kl["start"]


def test_only_the_new_attentions_change():
    model, original = distilled(how={"logit_steps": 5}), small_model()
    rest = {k: v for k, v in model.state_dict().items() if ".mechanism." not in k}
    assert rest.keys() == {k for k in original.state_dict() if ".attn." not in k}
    assert all(torch.equal(original.state_dict()[key], value) for key, value in rest.items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_given_model_and_its_mode_stay():
    original = small_model().train()
    model = ketformer.convert(
        original, "qisa", calibration=ROWS, distillation=Distillation(steps=2, progress=False)
    )
    assert all(module.training for module in [*original.modules(), *model.modules()])
    assert not any(module._forward_hooks for module in original.modules())


def test_a_seed_repeats():
    first, again = (distilled(how={"steps": 5}) for _ in range(2))
    assert torch.equal(first(some_ids()).logits, again(some_ids()).logits)
    other = distilled(how={"steps": 5, "seed": 1})
    assert not torch.equal(first(some_ids()).logits, other(some_ids()).logits)


def test_half_precision_is_fitted_in_single():
    model = ketformer.convert(
        small_model().bfloat16(),
        "overlap",
        calibration=ROWS,
        distillation=Distillation(**{**FEW, "learning_rate": 1e-3}, logit_steps=3),
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for row in model.conversion["distillation"]["layers"]:
        assert row["error_end"] < row["error_start"]


def test_layers_that_are_exact_need_no_calibration():
    model = ketformer.convert(small_model(), "classical")
    assert model.conversion == {
        "layers": {0: "classical", 1: "classical"},
        "kept": [],
        "distillation": None,
    }
    report = distilled("gpt2", ["classical", "overlap"]).conversion["distillation"]
    assert [row["layer"] for row in report["layers"]] == [1]


def test_a_text_is_cut_into_rows():
    ids = some_ids(1, 100)[0]
    one = distilled(calibration=ids.tolist(), how={"steps": 3, "context": 20})
    other = distilled(calibration=ids.view(5, 20), how={"steps": 3})
    assert one.conversion["distillation"]["rows"] == 4
    assert_close(one(some_ids()).logits, other(some_ids()).logits)

    def tokenizer(text, **_):
        return {"input_ids": [ord(c) % VOCABULARY for c in text]}

    text = distilled(calibration="some text " * 10, tokenizer=tokenizer, how={"context": 20})
    assert text.conversion["distillation"]["tokens"] == 80


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, 'init="distill" needs a calibration text; or pass init="random"'),
        ("a text", "pass its tokenizer too"),
        ([3] * 40, r"needs two rows of 32 tokens, one of them held out, and has 1"),
        (torch.full((3, 4), VOCABULARY), "calibration has token 50; the model has 0 to 49"),
        (torch.zeros(3, 40, dtype=torch.long), "rows of 40 tokens, longer than the model's"),
        (torch.zeros(3, 4), "must be a text, or token ids"),
        (torch.zeros(2, 2, 2, dtype=torch.long), "must be a text, or token ids"),
        ([], "and has 0"),
    ],
)
def test_a_wrong_calibration_is_one_line(calibration, message):
    with pytest.raises(KetformerError, match=message):
        ketformer.convert(small_model(), calibration=calibration)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 0}, r"learning_rate must lie in \(0, 1\)"),
        ({"held_out": 1.0}, "held_out must lie in"),
        ({"context": 1}, "context must be at least 2"),
    ],
)
def test_numbers_are_checked(given, message):
    with pytest.raises(KetformerError, match=message):
        Distillation(**given)


def test_a_loss_that_is_not_a_number_ends_it():
    broken = small_model()
    with torch.no_grad():
        broken.transformer.h[1].attn.c_proj.weight.fill_(float("nan"))
    with pytest.raises(KetformerError, match="the loss of step 1 is nan; lower the learning"):
        ketformer.convert(broken, calibration=ROWS, distillation=Distillation(**FEW))
