"""Ways to train faster: lower precision, recomputed activations, compiled models, workers."""

import json
import math

import pytest
import torch

from commands import largest_difference, metrics, weights
from ketformer import KetformerConfig, KetformerForCausalLM
from ketformer.models.block import FeedForward
from mechanisms import MECHANISMS

_SHORT = ("--max_steps", 10, "--save_strategy", "no", "--eval_strategy", "no")
_DROPOUT = ("--attn_pdrop", 0.1, "--resid_pdrop", 0.1)


def trained(ketformer, settings, out, *options):
    done = ketformer("train", settings, "--out", out, "--json", *_SHORT, *_DROPOUT, *options)
    assert done.code == 0, done.err
    return done.json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("precision")


@pytest.mark.parametrize("attention", MECHANISMS)
def test_bf16_and_recomputed_activations(ketformer, tiny, folder, attention):
    """bf16 keeps 8 bits of a number: mean losses lie within 1 % of float32's."""
    run = folder / attention
    exact = trained(ketformer, tiny, run / "exact", "--attention", attention)
    again = trained(
        ketformer, tiny, run / "again", "--attention", attention, "--gradient_checkpointing", "true"
    )
    assert largest_difference(run / "exact", run / "again") == 0  # with the same dropout
    assert again["train_loss"] == exact["train_loss"]
    coarse = trained(ketformer, tiny, run / "bf16", "--attention", attention, "--bf16", "true")
    assert coarse["train_loss"] != exact["train_loss"]
    for loss in ("train_loss", "eval_loss"):
        assert math.isclose(coarse[loss], exact[loss], rel_tol=0.01)
    assert all(math.isfinite(row["grad_norm"]) for row in metrics(run / "bf16") if "loss" in row)
    # The weights themselves stay in float32.
    assert {w.dtype for w in weights(run / "bf16").values() if w.is_floating_point()} == {
        torch.float32
    }
    manifest = json.loads((run / "bf16/manifest.json").read_text())
    assert manifest["mixed_precision"] == "bf16"


def test_activations_are_recomputed(ketformer, tiny, tmp_path, monkeypatch):
    """Each step runs the blocks a second time in the backward pass."""
    calls = []

    def counted(self, hidden_states, forward=FeedForward.forward):
        calls.append(self.training)
        return forward(self, hidden_states)

    monkeypatch.setattr(FeedForward, "forward", counted)
    trained(ketformer, tiny, tmp_path / "run", "--gradient_checkpointing", "true")
    assert sum(calls) == 2 * 10


@pytest.mark.parametrize("attention", MECHANISMS)
def test_recomputed_gradients_are_the_same(attention):
    """In one step of two blocks, whatever the mechanism keeps for the backward pass."""
    torch.manual_seed(0)
    config = KetformerConfig(
        attention=attention, vocab_size=11, hidden_size=8, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=6,
    )  # fmt: skip
    model = KetformerForCausalLM(config).train()
    batch = torch.randint(11, (3, 6))

    def gradients():
        model.zero_grad()
        torch.manual_seed(1)
        model(input_ids=batch, labels=batch).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    plain = gradients()
    model.activation_checkpointing_enable()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_worker_process_for_the_data_changes_nothing(ketformer, tiny, honest, tmp_path):
    done = ketformer("train", tiny, "--out", tmp_path / "run", "--dataloader_num_workers", 1)
    assert done.code == 0
    assert largest_difference(honest, tmp_path / "run") == 0


def test_fp16_on_a_cpu_is_refused(ketformer, tiny, tmp_path):
    done = ketformer(
        "train", tiny, "--out", tmp_path / "run", "--fp16", "true", "--use_cpu", "true"
    )
    done.assert_mistake("fp16 needs a GPU; on a CPU use bf16")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_model_is_saved_under_its_own_names_and_goes_on(
    ketformer, tiny, honest, tmp_path
):
    run = tmp_path / "run"
    compiled = ("--torch_compile", "true")
    assert ketformer("train", tiny, "--out", run, "--max_steps", 10, *compiled).code == 0
    for made in (run, run / "checkpoints/checkpoint-10"):
        assert weights(made).keys() == weights(honest).keys()
    assert ketformer("train", "--out", run, "--resume", "--max_steps", 20).code == 0
    assert largest_difference(honest, run) < 1e-5
    # The same checkpoints without compiling.
    rest = ("--resume", "--max_steps", 30, "--torch_compile", "false")
    assert ketformer("train", "--out", run, *rest).code == 0
