"""``ketformer convert``: from a folder to a folder, or one line and nothing."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig

from commands import small_text
from conversion.helpers import small_model, some_ids
from ketformer.tasks.text import bpe_tokenizer

QUICK = ("--steps", 20, "--context", 16, "--batch-size", 4, "--learning-rate", 1e-2)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text(small_text(400))
    return path


@pytest.fixture
def folder(tmp_path):
    """A GPT-2 whose tokenizer knows 300 tokens."""
    model = small_model()
    model.resize_token_embeddings(300)
    model.save_pretrained(tmp_path / "gpt2")
    bpe_tokenizer(small_text(400), 300).save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_folder_becomes_one_with_other_attention(ketformer, folder, text, tmp_path):
    out = tmp_path / "new" / "converted"
    done = ketformer(
        "convert", folder, "--attention", "overlap", "--layers", "1", "--data", text,
        "--attention_options.n_qubits", 4, "--logit-steps", 3, *QUICK, "--out", out, "--json",
    )  # fmt: skip
    assert (done.code, done.json["layers"], done.json["kept"]) == (0, {"1": "overlap"}, [])
    (row,) = done.json["distillation"]["layers"]
    assert row["held_out_end"] < row["held_out_start"]
    assert list(done.json["distillation"]["kl"]) == ["start", "attention", "logits"]
    assert json.loads((out / "conversion.json").read_text()) == done.json
    model = AutoModelForCausalLM.from_pretrained(out)
    assert sum(p.numel() for p in model.parameters()) == done.json["parameters"]
    assert model.converted()[1].mechanism.n_qubits == 4
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert (
        tokenizer("the cat").input_ids == AutoTokenizer.from_pretrained(folder)("the cat").input_ids
    )
    assert [path.name for path in out.parent.iterdir()] == ["converted"]


def test_what_it_prints(ketformer, folder, text, tmp_path):
    done = ketformer("convert", folder, "--data", text, *QUICK, "--out", tmp_path / "out")
    assert done.code == 0
    assert "error at start" in done.out
    assert done.out.count("Overlap") == 2
    assert "KL divergence from the old model, attention fitted: " in done.out


def test_at_random_no_text_is_needed_and_a_seed_repeats(ketformer, folder, tmp_path):
    logits = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        how = ("--init", "random", "--attention", "qisa", "--seed", seed)
        done = ketformer("convert", folder, *how, "--out", tmp_path / out, "--json")
        assert done.json["distillation"] is None
        logits.append(AutoModelForCausalLM.from_pretrained(tmp_path / out)(some_ids()).logits)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@pytest.mark.filterwarnings("default::ketformer.attention.LeakWarning")
def test_a_mechanism_that_leaks_gets_a_warning(ketformer, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("ketformer.attention.leaks._warned", set())
    how = ("--attention", "qisa_published", "--init", "random", "--out", tmp_path / "out")
    done = ketformer("convert", folder, *how)
    assert done.code == 0
    assert "warning: QISAPublished reproduces a published leak" in done.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "needs a calibration text"),
        (("--init", "random", "--layers", "0,5"), "there is no layer 5"),
        (("--init", "random", "--layers", "first"), "--layers are numbers such as 0,2, or all"),
        (("--init", "random", "--attention", "nope"), "unknown attention 'nope'"),
        (("--init", "zeros"), "--init must be one of distill, random, got zeros"),
        (("--data", "no-such.txt"), "no data set or file 'no-such.txt'"),
        (("--data", "embedded", "--steps", -1), "steps must be at least 0"),
        (("--init", "random", "--attention_options.fly", 1), "overlap has no option fly"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(ketformer, folder, tmp_path, args, told):
    before = sorted(tmp_path.rglob("*"))
    ketformer("convert", folder, "--out", tmp_path / "out", *args).assert_mistake(told)
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_that_cannot_be_used(ketformer, folder, tmp_path):
    def refused(path, told, *args):
        ketformer(
            "convert", path, "--init", "random", "--out", tmp_path / "out", *args
        ).assert_mistake(told)

    refused(tmp_path / "none", "none/config.json: no such file")
    BertConfig().save_pretrained(tmp_path / "bert")
    refused(tmp_path / "bert", "a model of type 'bert' cannot be converted, only openai-gpt, gpt2")
    (tmp_path / "bert" / "config.json").write_text("{")
    refused(tmp_path / "bert", "config.json: ")
    small_model().save_pretrained(tmp_path / "bare")
    refused(tmp_path / "bare", "no tokenizer, so --data cannot be read", "--data", "embedded")
    weights = small_model().state_dict()
    del weights["transformer.h.1.mlp.c_fc.bias"], weights["lm_head.weight"]
    save_file(weights, tmp_path / "bare" / "model.safetensors", {"format": "pt"})
    refused(tmp_path / "bare", "bare: the saved weights lack transformer.h.1.mlp.c_fc.bias")
    (tmp_path / "bare" / "model.safetensors").write_bytes(b"broken")
    refused(tmp_path / "bare", "bare: cannot be loaded")
    (tmp_path / "bare" / "model.safetensors").unlink()
    refused(tmp_path / "bare", "bare: cannot be loaded")


def test_a_folder_with_something_in_it_is_left_alone(ketformer, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    how = ("--init", "random", "--out", tmp_path / "out")
    ketformer("convert", folder, *how).assert_mistake("out exists; choose another --out")
    assert (tmp_path / "out" / "mine").read_text() == "mine"
    (tmp_path / "out" / "mine").unlink()
    assert ketformer("convert", folder, *how).code == 0
