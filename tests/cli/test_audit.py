"""``ketformer audit``: the stable keys and the exit codes."""

import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from ketformer import KetformerConfig, KetformerForCausalLM
from mechanisms import MECHANISMS

LEAKY = {"qisa_published", "qisa_a_published"}


@pytest.mark.parametrize("attention", MECHANISMS)
def test_every_mechanism_is_proved_or_refuted(ketformer, attention):
    done = ketformer("audit", "--attention", attention, "--json")
    assert done.code == 0
    assert done.json["attention"] == attention
    if attention in LEAKY:
        assert done.json["causal"] is False
        assert done.json["max_future_influence"] > 0.1
    else:
        assert done.json["causal"] is True
        assert done.json["max_future_influence"] == 0.0
    assert done.json["max_past_influence"] > 0.1  # the probe has a visible effect


def test_require_causal_turns_a_leak_into_exit_code_1(ketformer, honest, leaky):
    assert ketformer("audit", honest, "--require_causal").code == 0
    assert ketformer("audit", leaky).code == 0
    refuted = ketformer("audit", leaky, "--require-causal", "--json")
    assert (refuted.code, refuted.json["causal"]) == (1, False)
    assert refuted.err == ""


def test_a_run_is_audited_with_its_own_weights(ketformer, leaky):
    found = ketformer("audit", leaky, "--length", 5, "--sequences", 3, "--json").json
    assert found["attention"] == "qisa_published"
    assert (found["length"], found["sequences"], found["perturbations"]) == (5, 3, 15)
    assert found["worst"][0] > found["worst"][1]
    assert "the future leaks" in ketformer("audit", leaky).out


def test_a_seed_repeats(ketformer, leaky):
    first, again, other = (
        ketformer("audit", leaky, "--seed", seed, "--json").json for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "name either a run directory or an --attention"),
        (("runs/x", "--attention", "qisa"), "name either a run directory or an --attention"),
        (("--attention", "nope"), "unknown attention 'nope'"),
        (("qisa",), "did you mean --attention"),
        (("runs/none",), "no run directory"),
        (("--attention", "qisa", "--sequences", 0), "at least one sequence"),
        (("--attention", "qisa", "--length", 1), "two tokens"),
        (("runs/x", "--model", "a:b"), "or a --model"),
        (("--model", "nothing"), "write it as package.module:factory"),
        (("--model", "nothing_here:make"), "No module named 'nothing_here'"),
    ],
)
def test_mistakes(ketformer, args, told):
    ketformer("audit", *args).assert_mistake(told)


# --- Models that are not ours ------------------------------------------------------------------


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=19, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, intermediate_size=16, max_position_embeddings=16,
        )
    )  # fmt: skip


def test_a_folder_of_transformers(ketformer, llama, tmp_path):
    llama.save_pretrained(tmp_path / "llama")
    done = ketformer("audit", tmp_path / "llama", "--require_causal", "--json")
    assert done.code == 0, done.err
    assert (done.json["attention"], done.json["length"]) == ("llama", 16)
    assert done.json["max_future_influence"] == 0.0
    assert {check["name"]: check["passed"] for check in done.json["checks"]} == {
        "batch": True,
        "cache": True,
        "left_padding": True,
        "packing": True,
        "attention_weights": None,
    }


def test_an_encoder_decoder_and_one_of_our_models_that_is_no_run(ketformer, tmp_path):
    small = T5Config(vocab_size=19, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(small).save_pretrained(tmp_path / "t5")
    ours = KetformerConfig(attention="qsann", vocab_size=5, hidden_size=8, num_hidden_layers=1)
    KetformerForCausalLM(ours).save_pretrained(tmp_path / "ours")
    for folder, name in (("t5", "t5"), ("ours", "qsann")):
        done = ketformer("audit", tmp_path / folder, "--require_causal", "--json")
        assert (done.code, done.json["attention"]) == (0, name), done.err


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b"x"), "transformers cannot load"),
        (lambda path: (path / "model.safetensors").unlink(), "transformers cannot load"),
        (lambda path: (path / "config.json").write_text("{}"), "transformers cannot load"),
        (lambda path: (path / "config.json").unlink(), "not a finished run"),
    ],
)
def test_a_broken_folder(ketformer, llama, tmp_path, damage, told):
    llama.save_pretrained(tmp_path)
    damage(tmp_path)
    ketformer("audit", tmp_path).assert_mistake(told)


MODELS = """
import numpy as np
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(9, 4)

    def forward(self, ids):
        return self.embed(ids).cumsum(dim=1)


def make():
    return Model()


def leaky():
    return lambda ids: ids[..., None] + 1e-6 * ids.roll(-1, 1)[..., None]


def across():
    return lambda ids: ids[..., None] + ids.sum(0, keepdim=True)[..., None] * torch.ones(4)


def function(ids):
    return ids[..., None] * np.ones(3)


made = Model()
number = 7


def broken():
    raise OSError("the weights are\\nnot here")


def nan():
    return lambda ids: ids[..., None] * torch.nan


def last():
    return lambda ids: ids[:, -1:, None].float()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the current folder."""
    name = f"their_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    return name


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("make", ()),
        ("Model", ()),
        ("made", ()),
        ("made.forward", ("--vocab-size", 9)),
        ("function", ("--vocab_size", 9)),
    ],
)
def test_a_model_of_ones_own(ketformer, module, named, options):
    done = ketformer("audit", "--model", f"{module}:{named}", *options, "--require_causal")
    assert done.code == 0, done.err
    assert "batch: ok: no row changes with another row" in done.out


def test_a_weak_leak_is_not_printed_as_0(ketformer, module):
    args = ("audit", "--model", f"{module}:leaky", "--vocab_size", 9, "--length", 8)
    done = ketformer(*args, "--require_causal")
    assert done.code == 1
    assert "max_future_influence  8.1e-06" in done.out
    assert "Positions 0-6 of 0-7 see a later token, 1 ahead." in done.out
    assert ketformer(*args).code == 0


def test_a_batch_leak_also_fails(ketformer, module):
    done = ketformer(
        "audit", "--model", f"{module}:across", "--vocab_size", 9, "--require_causal", "--json"
    )
    assert (done.code, done.json["causal"]) == (1, True)
    assert "batch leak" in done.json["checks"][0]["said"]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("broken", "OSError: the weights are not here"),
        ("nothing", "has no attribute 'nothing'"),
        ("number", "a callable from token ids"),
        ("nan", "the logits of <lambda> are NaN, first in row 0 at position 0"),
        ("last", "must return logits of every position"),
    ],
)
def test_a_broken_model_of_ones_own(ketformer, module, named, told):
    ketformer("audit", "--model", f"{module}:{named}", "--vocab_size", 9).assert_mistake(told)


def test_a_model_without_a_vocabulary(ketformer, module):
    ketformer("audit", "--model", f"{module}:function").assert_mistake("give vocab_size")
