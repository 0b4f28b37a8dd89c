"""``ketformer train``: what a run directory holds, and what a seed fixes."""

import hashlib
import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

import ketformer as package
from commands import MECHANISMS, largest_difference, metrics, write_settings
from ketformer.cli.positions import with_positions_for
from ketformer.runs import load_settings
from ketformer.tasks.molecules.rows import MoleculeRows


def test_a_run_directory_is_complete(honest):
    names = {path.name for path in honest.iterdir()}
    assert names >= {
        "settings.yaml",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "config.json",
        "tokenizer.json",
    }
    checkpoints = {path.name for path in (honest / "checkpoints").iterdir()}
    assert {"checkpoint-5", "checkpoint-10", "checkpoint-15", "checkpoint-20"} <= checkpoints


def test_the_manifest_says_what_the_numbers_came_from(honest, text):
    manifest = json.loads((honest / "manifest.json").read_text())
    assert manifest["data"] == {
        "name": str(text),
        "sha256": hashlib.sha256(text.read_bytes()).hexdigest(),
        "split": "standard",
    }
    assert (manifest["seed"], manifest["attention"], manifest["causal"]) == (42, "classical", True)
    assert manifest["processes"] == 1
    assert manifest["machine"]["versions"]["torch"] == torch.__version__
    assert manifest["machine"]["versions"]["ketformer"] == package.__version__
    assert manifest["machine"]["cores"] >= 1
    assert "commit" in manifest


def test_a_run_loads_as_any_hugging_face_model(honest, text):
    model = AutoModelForCausalLM.from_pretrained(honest)
    tokenizer = AutoTokenizer.from_pretrained(honest)
    assert (
        model.num_parameters() == json.loads((honest / "manifest.json").read_text())["parameters"]
    )
    ids = tokenizer("the cat", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 7, len(set(text.read_text())))
    assert tokenizer.decode(ids[0]) == "the cat"


def test_the_settings_of_a_run_make_the_same_run(ketformer, honest, tmp_path):
    assert ketformer("train", honest / "settings.yaml", "--out", tmp_path / "again").code == 0
    assert largest_difference(honest, tmp_path / "again") == 0


def test_settings_left_to_torch_survive_the_settings_file(ketformer, tiny, tmp_path):
    options = ("--initializer_range", "null", "--max_steps", 1)
    assert ketformer("train", tiny, "--out", tmp_path / "a", *options).code == 0
    assert (
        yaml.safe_load((tmp_path / "a/settings.yaml").read_text())["model"]["initializer_range"]
        is None
    )
    assert ketformer("train", tmp_path / "a/settings.yaml", "--out", tmp_path / "b").code == 0
    assert largest_difference(tmp_path / "a", tmp_path / "b") == 0


def test_the_loss_goes_down(honest):
    logged = [row["loss"] for row in metrics(honest) if "loss" in row]
    assert logged == sorted(logged, reverse=True)
    assert logged[-1] < logged[0] - 0.5


def test_metrics_have_one_line_for_each_event(honest):
    events = [
        (row["step"], kind)
        for row in metrics(honest)
        for kind in ("loss", "eval_loss", "train_runtime")
        if kind in row
    ]
    losses = [(step, "loss") for step in (5, 10, 15, 20)]
    others = [(10, "eval_loss"), (20, "eval_loss"), (20, "train_runtime")]
    assert sorted(events) == sorted(losses + others)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_a_seed_repeats_bit_for_bit(ketformer, tiny, tmp_path, attention):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ("--attention", attention, "--seed", seed, "--resid_pdrop", 0.1)
        assert ketformer("train", tiny, "--out", tmp_path / name, *options).code == 0
    assert largest_difference(tmp_path / "a", tmp_path / "b") == 0
    assert largest_difference(tmp_path / "a", tmp_path / "c") > 1e-2


def test_accumulated_gradients_equal_one_large_batch(ketformer, tiny, tmp_path):
    accumulated = ("--per_device_train_batch_size", 8, "--gradient_accumulation_steps", 2)
    assert ketformer("train", tiny, "--out", tmp_path / "whole").code == 0
    assert ketformer("train", tiny, "--out", tmp_path / "halves", *accumulated).code == 0
    assert largest_difference(tmp_path / "whole", tmp_path / "halves") < 1e-5


def test_json_is_all_that_standard_output_holds(ketformer, tiny, tmp_path):
    done = ketformer("train", tiny, "--out", tmp_path / "run", "--json")
    assert done.code == 0
    assert done.json.keys() == {
        "run",
        "attention",
        "parameters",
        "steps",
        "train_loss",
        "eval_loss",
        "seconds",
        "causal",
    }
    assert done.json["steps"] == 20
    assert done.json["eval_loss"] == metrics(tmp_path / "run")[-2]["eval_loss"]
    assert "20/20" in done.err  # the bar


def test_without_out_the_run_is_named_after_what_it_is(ketformer, tiny):
    done = ketformer("train", tiny, "--attention", "qisa", "--max_steps", 1, "--json")
    assert done.json["run"] == "runs/tiny-qisa-seed42"


def test_the_embedded_text_needs_no_file(ketformer, tiny, tmp_path):
    done = ketformer(
        "train", tiny, "--data", "embedded", "--max_steps", 2, "--out", tmp_path / "e", "--json"
    )
    assert (done.code, done.json["steps"]) == (0, 2)
    assert json.loads((tmp_path / "e/manifest.json").read_text())["data"]["name"] == "embedded"


def test_a_bpe_is_trained_and_kept_with_the_run(ketformer, text, tmp_path):
    settings = write_settings(tmp_path / "bpe.yaml", text, tokenizer="bpe", vocab_size=280)
    assert ketformer("train", settings, "--out", tmp_path / "run").code == 0
    result = ketformer("evaluate", tmp_path / "run", "--json").json
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert len(tokenizer) == 280
    # Nats per token become bits per character through the characters in a token, here above 1.
    characters = result["cross_entropy"] / math.log(2) / result["bits_per_character"]
    assert 1.5 < characters < 8


def test_a_finished_run_is_not_overwritten(ketformer, tiny, honest):
    before = (honest / "model.safetensors").stat().st_mtime_ns
    ketformer("train", tiny, "--out", honest).assert_mistake("exists", "--resume")
    assert (honest / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--max_steps", 0), "max_steps"),
        (("--learning_rate", -1), "learning_rate"),
        (("--learning_rate", 1e39, "--optim", "sgd"), "learning_rate must fit into 32 bits"),
        (("--per_device_train_batch_size", 0), "per_device_train_batch_size"),
        (("--seed", -1), "seed"),
        (("--adam_beta1", 2), "adam_beta1"),
        (("--lr_scheduler_type", "steep"), "steep"),
        (("--report_to", "nobody"), "nobody"),
        (("--report_to", "wandb"), "wandb"),
        (("--report_to", '["tensorboard", "nobody"]'), "nobody"),
        (("--optim", "adamw_8bit"), "bitsandbytes"),
        (("--optim", "nope"), "nope"),
        (("--metric_for_best_model", "nope"), "metric_for_best_model must be loss, got 'nope'"),
        (("--attention", "nope"), "unknown attention 'nope'"),
        (("--attention_options", '{"score": "x"}'), "score must be one of"),
        (("--attention_options", '{"nope": 1}'), "no option nope"),
        (("--hidden_size", 7), "do not divide"),
        (("--max_position_embeddings", 100_000), "needs at least 100001"),
        (("--split", "nope"), "unknown split"),
        (("--tokenizer", "nope"), "unknown tokenizer"),
        (("--data", "nope.txt"), "nope.txt"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(ketformer, tiny, tmp_path, options, told):
    ketformer("train", tiny, "--out", tmp_path / "run", *options).assert_mistake(told)
    assert not (tmp_path / "run").exists()


def test_a_refused_tracker_is_one_line_and_no_reason_to_resume(
    ketformer, tiny, tmp_path, monkeypatch
):
    seen = []  # a half-made tracker complains a second time when it is deleted
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    run = ("train", tiny, "--out", tmp_path / "run", "--max_steps", 1)
    ketformer(*run, "--report_to", "mlflow").assert_mistake("mlflow")
    assert seen == []
    assert ketformer(*run).code == 0


@pytest.mark.parametrize("trackers", ["tensorboard", '["tensorboard"]', None])
def test_losses_go_to_tensorboard_beside_the_checkpoints(ketformer, tiny, tmp_path, trackers):
    """Also by default, if the settings name no tracker."""
    content = yaml.safe_load(Path(tiny).read_text())
    content["training"] |= {"max_steps": 2, "logging_steps": 1}
    del content["training"]["report_to"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    options = ("--report_to", trackers) if trackers else ()
    run = tmp_path / "run"
    assert ketformer("train", tmp_path / "tiny.yaml", "--out", run, *options).code == 0
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("train/loss")] == [1, 2]
    assert not (run / "checkpoints/runs").exists()


def test_an_update_too_large_for_torch_is_one_line(ketformer, tiny, tmp_path):
    options = ("--learning_rate", 3e38, "--weight_decay", 3e38, "--optim", "adamw_torch")
    done = ketformer("train", tiny, "--out", tmp_path / "run", *options)
    assert done.code == 2
    assert "step 1: an update does not fit into 32 bits" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("model: {hidden_siez: 8}", "did you mean 'hidden_size'"),
        ("model: {hidden_size: wide}", "'hidden_size' must be int"),
        ("training: 3", "training must be a mapping"),
        ("[1, 2]", "expected a mapping"),
        ("model: {", "bad.yaml"),
    ],
)
def test_a_wrong_settings_file_is_explained(ketformer, tmp_path, content, told):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    ketformer("train", path, "--out", tmp_path / "run").assert_mistake("bad.yaml", told)


def test_an_empty_or_binary_text_is_refused(ketformer, tiny, tmp_path):
    for name, content, told in (
        ("e", b" \n", "no text"),
        ("b", b"\xff\xfe\x00", "not UTF-16 text"),
    ):
        (tmp_path / name).write_bytes(content)
        options = ("--data", tmp_path / name, "--out", tmp_path / "run")
        ketformer("train", tiny, *options).assert_mistake(told)


def test_positions_are_an_option_of_the_model(ketformer, tiny, tmp_path):
    args = ("--attention", "overlap", "--positions", "rotary", "--rotary_base", 100)
    done = ketformer("train", tiny, *args, "--max_steps", 2, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["positions"], config["rotary_base"]) == ("rotary", 100)
    assert ketformer("audit", tmp_path / "run").code == 0
    refused = ketformer("train", tiny, "--positions", "none", "--attention", "qisa_published",
                        "--out", tmp_path / "other")  # fmt: skip
    refused.assert_mistake("qisa_published is as released, so it needs positions=learned, not none")
    assert ketformer("train", tiny, "--positions", "sine").code == 2


SMALL = ("--hidden_size", 16, "--num_attention_heads", 2, "--num_hidden_layers", 1,
         "--max_position_embeddings", 16, "--max_steps", 2)  # fmt: skip
ROWS = ("--seeds", 1, "--rates", 1, "--jobs", 1)


@pytest.mark.parametrize(
    ("call", "runs"),
    [
        (("train", "char-small", "--attention", "qisa_published"), [""]),
        (
            ("compare", "classical", "qisa_published", "--preset", "char-small", *ROWS),
            ["classical-seed42", "qisa_published-seed42"],
        ),
    ],
    ids=["train", "compare"],
)
def test_a_preset_gives_up_its_positions_for_a_mechanism_as_released(
    ketformer, text, tmp_path, call, runs
):
    """For all rows alike, and it is said; positions that were asked for are refused instead."""
    done = ketformer(*call, *SMALL, "--data", text, "--out", tmp_path / "r")
    assert done.code == 0, done.err
    assert "qisa_published: accepts no rotary positions" in done.err
    for run in runs:
        config = json.loads((tmp_path / "r" / run / "config.json").read_text())
        assert config["positions"] == "learned"
    asked = ketformer(
        *call, *SMALL, "--positions", "rotary", "--data", text, "--out", tmp_path / "o"
    )
    asked.assert_mistake("needs positions=learned, not rotary")


@pytest.mark.parametrize("attention", ["quixer", "classical_linear"])
def test_a_preset_gives_up_rotary_positions_for_a_mechanism_without_angles(attention):
    rotary = load_settings("char-small")
    assert rotary.model["positions"] == "rotary"
    with pytest.warns(UserWarning, match=f"{attention}: accepts no rotary positions"):
        assert with_positions_for([attention], rotary).model["positions"] == "learned"
    none = rotary.override({"positions": "none"})
    assert with_positions_for([attention], none) == none


def test_rows_grouped_by_length(ketformer, tiny_molecules, tmp_path, monkeypatch):
    """Trainer asks each row for its length: the batches waste less on padding."""
    tokens, batch_of = {}, MoleculeRows.batch
    for name, options in (("usual", ()), ("grouped", ("group_by_length",))):
        widths = []

        def noted(self, indices, widths=widths):
            batch = batch_of(self, indices)
            if len(indices) > 1:
                widths.append(batch["input_ids"].numel())
            return batch

        monkeypatch.setattr(MoleculeRows, "batch", noted)
        chosen = ("--train_sampling_strategy", *options) if options else ()
        given = ("train", tiny_molecules, "--max_steps", 4, "--eval_strategy", "no", *chosen)
        done = ketformer(*given, "--out", tmp_path / name)
        assert done.code == 0, done.err
        tokens[name] = sum(widths[:4])
    assert tokens["grouped"] < tokens["usual"]
