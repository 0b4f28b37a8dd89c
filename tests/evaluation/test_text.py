"""``ketformer evaluate``: the stable keys, and numbers that an independent sum confirms."""

import math
import random
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import metrics, small_text, write_settings


@pytest.fixture
def result(ketformer, honest):
    """The evaluation of the honest run."""
    return ketformer("evaluate", honest, "--json").json


def test_the_stable_keys(result):
    stable = {"parameters", "cross_entropy", "prefix_cross_entropy", "cer", "wer", "causal"}
    assert stable <= result.keys()
    assert {"perplexity", "bits_per_character", "free_running_cer", "inference_ms"} <= result.keys()
    assert result["causal"] is True
    assert result["inference_ms"] > 0


@torch.no_grad()
def test_cross_entropies_are_what_a_plain_loop_finds(honest, text, result):
    model = AutoModelForCausalLM.from_pretrained(honest).eval()
    tokenizer = AutoTokenizer.from_pretrained(honest)
    content = text.read_text()
    ids = tokenizer(content[int(0.95 * len(content)) :], return_tensors="pt").input_ids[0]
    losses = []  # [windows, 8]
    for start in range(0, len(ids) - 8, 8):
        window, target = ids[start : start + 8], ids[start + 1 : start + 9]
        prefixes = [model(window[None, : n + 1]).logits[0, -1] for n in range(8)]
        chances = torch.stack(prefixes).log_softmax(-1)
        losses.append(-chances[range(8), target])
    losses = torch.stack(losses).double()
    assert result["targets"] == result["prefix_targets"] == losses.numel()
    assert result["prefix_cross_entropy"] == pytest.approx(float(losses.mean()), abs=1e-6)
    assert result["cross_entropy"] == pytest.approx(float(losses.mean()), abs=1e-5)
    assert result["cross_entropy_by_position"] == pytest.approx(losses.mean(0).tolist(), abs=1e-5)
    assert result["perplexity"] == pytest.approx(math.exp(losses.mean()), rel=1e-5)
    # One character is one token here.
    bits = float(losses.mean()) / math.log(2)
    assert result["bits_per_character"] == pytest.approx(bits, rel=1e-5)


def test_bits_per_character_count_the_characters_of_the_text(ketformer, tmp_path):
    """Windows of 8 bytes cut Chinese characters, which have 3."""
    draw = random.Random(0)
    content = "".join(draw.choices("天地玄黄宇宙洪荒日月盈昃辰宿列张，。\n", k=1500))
    file = tmp_path / "chinese.txt"
    file.write_text(content, encoding="utf-8")
    settings = write_settings(
        tmp_path / "own.yaml", file, tokenizer="bpe", vocab_size=256, training={"max_steps": 1}
    )
    assert ketformer("train", settings, "--out", tmp_path / "run").code == 0
    result = ketformer("evaluate", tmp_path / "run", "--json").json
    first = [  # the first byte of each character of the test part
        byte & 0b11000000 != 0b10000000 for byte in content[int(0.95 * 1500) :].encode()
    ]
    assert result["targets"] % 8 == 0
    characters = sum(first[1 : 1 + result["targets"]])  # the first token is no target
    bits = result["cross_entropy"] * result["targets"] / math.log(2)
    assert result["bits_per_character"] == pytest.approx(bits / characters, rel=1e-6)


def test_a_leaky_model_is_found_out(ketformer, leaky):
    done = ketformer("evaluate", leaky, "--json")
    assert done.json["causal"] is False
    # It copies from the future what the past does not tell.
    assert done.json["prefix_cross_entropy"] > done.json["cross_entropy"] + 0.3
    shown = ketformer("evaluate", leaky).out
    assert "only the loss with the prefix alone" in shown


def test_the_validation_part_agrees_with_training(ketformer, honest):
    validation = ketformer("evaluate", honest, "--split", "validation", "--json").json
    assert validation["part"] == "validation"
    logged = [row["eval_loss"] for row in metrics(honest) if "eval_loss" in row]
    assert validation["cross_entropy"] == pytest.approx(logged[-1], abs=1e-5)


@pytest.mark.parametrize(
    ("split", "way", "part", "share"),
    [
        ("train", "standard", "train", 0.9),
        ("test", "standard", "test", 0.05),
        ("standard", "standard", "test", 0.05),
        ("published", "published", "test", 0.04),
    ],
)
def test_split_names_a_part_or_a_way_to_split(ketformer, honest, text, split, way, part, share):
    result = ketformer("evaluate", honest, "--split", split, "--json").json
    assert (result["split"], result["part"]) == (way, part)
    assert result["targets"] == pytest.approx(share * len(text.read_text()), abs=10)


def test_limit_is_a_number_of_windows(ketformer, honest):
    result = ketformer("evaluate", honest, "--limit", 5, "--json").json
    assert result["targets"] == 5 * 8
    ketformer("evaluate", honest, "--limit", 0).assert_mistake("limit must be positive, got 0")


def test_only_an_evaluation_of_the_whole_test_part_is_kept(ketformer, honest, tmp_path):
    run = shutil.copytree(honest, tmp_path / "run")
    (run / "evaluation.json").unlink(missing_ok=True)
    assert ketformer("evaluate", run, "--limit", 5).code == 0
    assert not (run / "evaluation.json").exists()
    assert ketformer("evaluate", run).code == 0
    assert (run / "evaluation.json").exists()


def test_another_text_can_be_measured(ketformer, honest, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(small_text(seed=9))
    result = ketformer("evaluate", honest, "--data", other, "--json").json
    assert result["data"] == str(other)
    assert math.isfinite(result["cross_entropy"])


def test_a_character_that_the_model_never_saw_is_named(ketformer, honest, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(small_text() + "Ω" * 400)
    ketformer("evaluate", honest, "--data", other).assert_mistake("'Ω' (U+03A9)")


def test_data_that_changed_since_training_is_refused(ketformer, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text(small_text())
    settings = write_settings(tmp_path / "own.yaml", own, training={"max_steps": 1})
    assert ketformer("train", settings, "--out", tmp_path / "run").code == 0
    own.write_text(small_text(seed=1))
    ketformer("evaluate", tmp_path / "run").assert_mistake("SHA-256")


def test_what_is_no_finished_run_is_said(ketformer, honest, tmp_path):
    ketformer("evaluate", tmp_path / "none").assert_mistake("no run directory")
    run = shutil.copytree(honest, tmp_path / "run")
    (run / "model.safetensors").write_bytes(b"not weights" * 500)
    ketformer("evaluate", run).assert_mistake("cannot be loaded")
    (run / "model.safetensors").unlink()
    ketformer("evaluate", run).assert_mistake("not a finished run", "resume")
    ketformer("evaluate", honest, "--split", "nope").assert_mistake("unknown split 'nope'")
    ketformer("evaluate", honest, "--data", "nope").assert_mistake("no data set or file 'nope'")
