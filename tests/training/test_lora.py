"""``--lora_rank``: low-rank adapters on another run's weights, merged when they are saved."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from commands import cut_off, largest_difference, metrics, without_times
from ketformer.attention import ATTENTION
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings, open_run
from ketformer.training.lora import add_adapters

RANK = ("--lora_rank", 2, "--learning_rate", 0.05, "--max_steps", 6, "--report_to", "none")
OFTEN = ("--eval_steps", 2, "--save_steps", 2)


@pytest.fixture(scope="module")
def adapted(trained_once, honest):
    return trained_once("adapted", "--init", str(honest), *map(str, (*RANK, *OFTEN)))


def test_the_saved_run_is_one_like_any_other(ketformer, honest, adapted):
    """Its weights are the first run's plus a matrix of rank 2 in each linear layer of a block."""
    before, after = (load_file(run / "model.safetensors") for run in (honest, adapted))
    assert before.keys() == after.keys()
    lora = json.loads((adapted / "manifest.json").read_text())["lora"]
    assert lora["alpha"] == 4
    for name, old in before.items():
        change = after[name].double() - old.double()
        if name.removesuffix(".weight") in lora["layers"]:
            sizes = torch.linalg.svdvals(change)
            assert sizes[0] > 0
            assert sizes[2:].max() < 1e-5 * sizes[0]
        else:
            assert change.abs().max() == 0, name
    trained = sum(2 * sum(before[f"{name}.weight"].shape) for name in lora["layers"])
    assert lora["trained_parameters"] == trained
    assert lora["frozen_parameters"] == sum(v.numel() for v in before.values())
    assert open_run(adapted).model.num_parameters() == lora["frozen_parameters"]
    assert "LoRA of rank 2" in (adapted / "README.md").read_text()
    measured = ketformer("evaluate", adapted, "--split", "validation", "--json").json
    logged = [row["eval_loss"] for row in metrics(adapted) if "eval_loss" in row]
    assert measured["cross_entropy"] == pytest.approx(min(logged), rel=1e-4)


def test_resumed_it_ends_as_if_it_had_not_been_stopped(ketformer, honest, adapted, tmp_path):
    out = ("--out", tmp_path / "parts")
    with cut_off(3):
        assert ketformer("train", "--init", honest, *RANK, *OFTEN, *out).code == 130
    done = ketformer("train", *out, "--resume", "--json")
    assert largest_difference(adapted, tmp_path / "parts") == 0
    assert without_times(metrics(tmp_path / "parts")) == without_times(metrics(adapted))
    again = ketformer("train", *out, "--resume", "--json")  # a finished one stays as it is
    assert largest_difference(adapted, tmp_path / "parts") == 0
    assert again.json["frozen_parameters"] == done.json["frozen_parameters"] > 0


def test_what_is_added_is_trained_in_full(ketformer, honest, tmp_path):
    data = tmp_path / "letters.txt"
    data.write_text("to be or not to be é " * 40)
    options = ("--data", data, "--add_tokens", "true", "--lora_layers", "out_proj")
    given = ("--init", honest, *RANK, *options, "--out", tmp_path / "run")
    assert ketformer("train", *given).code == 0
    run, first = open_run(tmp_path / "run"), open_run(honest)
    places = [run.tokenizer.get_vocab()[t] for t in sorted(first.tokenizer.get_vocab())]
    embedding = run.model.model.embed_tokens.weight[places]
    assert (embedding - first.model.model.embed_tokens.weight).abs().max() > 0
    lora = json.loads((tmp_path / "run/manifest.json").read_text())["lora"]
    assert lora["layers"] == ["model.layers.0.attention.out_proj"]


@pytest.mark.parametrize("name", list(ATTENTION))
def test_every_adapter_of_every_mechanism_is_used(name):
    """None is left without a gradient, and merged it computes what it computed as an adapter."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = KetformerForCausalLM(
        KetformerConfig(vocab_size=5, max_position_embeddings=4, attention=name, **sizes)
    ).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    adapters = add_adapters(model, Settings(init="first", lora_rank=2), ())
    ids = torch.tensor([[0, 3, 1, 4]])
    for parameter in model.parameters():
        if parameter.requires_grad:  # B starts at 0, which hides A
            torch.nn.init.normal_(parameter, std=0.1)
    out = model(ids, labels=ids)
    out.loss.backward()
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trained.values())
    adapters.merge()
    assert model.state_dict().keys() == before.keys()
    torch.testing.assert_close(model(ids).logits, out.logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lora_rank", 0), "at least 1"),
        (("--lora_rank", 2, "--init", "null"), "needs --init RUN"),
        (("--lora_alpha", 2), "need a lora_rank"),
        (("--lora_rank", 2, "--lora_layers", "nothing"), "no linear layer 'nothing'"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(ketformer, honest, tiny, tmp_path, options, said):
    given = ("train", tiny, "--init", honest, *options, "--out", tmp_path / "out")
    ketformer(*given).assert_mistake(said)
    assert not (tmp_path / "out").exists()


def test_without_peft_one_line_says_how_to_get_it(ketformer, honest, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    given = ("train", "--init", honest, "--lora_rank", 2, "--out", tmp_path / "out")
    ketformer(*given).assert_mistake("LoRA needs peft: pip install 'ketformer[lora]'")
