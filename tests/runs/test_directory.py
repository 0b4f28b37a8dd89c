"""Run directories: written whole or not at all, and one clear line for each broken file."""

import json
import os

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings, open_run, read_metrics
from ketformer.runs.directory import (
    FORMAT,
    MANIFEST_FILE,
    METRICS_FILE,
    SETTINGS_FILE,
    make_manifest,
    save_model,
    write_metrics,
)
from ketformer.tasks.text import char_tokenizer, encode
from ketformer.utils.files import write_json
from ketformer.utils.mappings import read_json

ALPHABET = "\n abc"
TOY = {"name": "toy", "data": "embedded", "split": "standard"}


@pytest.fixture
def saved(tmp_path):
    """The model and the path of a finished run."""
    torch.manual_seed(0)
    model = KetformerForCausalLM(
        KetformerConfig(
            vocab_size=len(ALPHABET), hidden_size=8, num_hidden_layers=1, attention="qisa"
        )
    )
    path = tmp_path / "run"
    model.save_pretrained(path)
    char_tokenizer(ALPHABET).save_pretrained(path)
    (path / SETTINGS_FILE).write_text(yaml.safe_dump(TOY))
    write_json(path / MANIFEST_FILE, make_manifest(seed=3))
    return model.eval(), path


def complaint_about(path):
    """The message for a run that cannot be opened, which must be one line that names it."""
    with pytest.raises(KetformerError) as caught:
        open_run(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


# --- Opening -----------------------------------------------------------------------------------


def test_a_finished_run_opens_as_it_was_saved(saved):
    model, path = saved
    run = open_run(path)
    assert run.path == path
    assert not run.model.training
    ids = encode(run.tokenizer, "abc cab")[None]
    assert torch.equal(run.model.cpu()(ids).logits, model(ids).logits)
    assert run.settings == Settings(**TOY)
    assert run.task == "text"
    assert run.manifest["seed"] == 3
    assert open_run(str(path)).path == path


def test_a_path_without_a_run_is_an_error(tmp_path):
    assert "no run directory" in complaint_about(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    assert "no run directory" in complaint_about(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    message = complaint_about(tmp_path / "empty")
    assert "not a finished run" in message
    assert "resume" not in message


def test_an_unfinished_run_is_an_error_that_says_how_to_finish(saved):
    _, path = saved
    (path / "model.safetensors").unlink()
    assert complaint_about(path).endswith("not a finished run; resume its training first")


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "emptied": b"",
            "cut short": content[: len(content) // 2],
            "of nonsense": b"\xff\x00nonsense",
        }[how]
    )


@pytest.mark.parametrize("how", ["emptied", "cut short", "of nonsense"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "manifest.json"]
)
def test_a_broken_file_is_one_line(saved, name, how):
    _, path = saved
    damage(path / name, how)
    assert complaint_about(path)


@pytest.mark.parametrize("content", [b"", b"- a list", b"model: {a: [}", b"\xff\xfe\x00"], ids=repr)
def test_broken_settings_are_one_line_that_names_the_file(saved, content):
    _, path = saved
    (path / SETTINGS_FILE).write_bytes(content)
    assert SETTINGS_FILE in complaint_about(path)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", SETTINGS_FILE, MANIFEST_FILE], ids=str
)
def test_a_missing_file_is_one_line_that_names_it(saved, name):
    _, path = saved
    (path / name).unlink()
    assert name in complaint_about(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hiden_size": 3}, "unknown configuration key 'hiden_size'; did you mean 'hidden_size'?"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"attention": "magic"}, "unknown attention 'magic'"),
        ({"num_attention_heads": 3}, "3 heads do not divide hidden_size 8"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_said_as_the_configuration_says_it(saved, changes, said):
    _, path = saved
    config = read_json(path / "config.json")
    write_json(path / "config.json", {**config, **changes})
    message = complaint_about(path)
    assert "config.json" in message
    assert said in message


@pytest.mark.parametrize("changes", [{"hidden_size": 16}, {"vocab_size": 7}], ids=str)
def test_weights_of_another_size_than_the_configuration_are_an_error(saved, changes):
    _, path = saved
    config = read_json(path / "config.json")
    write_json(path / "config.json", {**config, **changes})
    assert complaint_about(path)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.attention.observables.codes"])
def test_missing_weights_or_strings_are_an_error_and_not_drawn_anew(saved, name):
    _, path = saved
    tensors = load_file(path / "model.safetensors")
    del tensors[name]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    message = complaint_about(path)
    assert "lack" in message
    assert name in message


def change_json(path, **changes):
    write_json(path, {**read_json(path), **changes})


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (2, "written by a newer Ketformer (run format 2); this version reads formats up to 1"),
        (10**6, "upgrade"),
        ("2", "format must be a whole number"),
    ],
)
def test_a_run_of_a_newer_version_says_so_before_all_else(saved, found, told):
    _, path = saved
    change_json(path / MANIFEST_FILE, format=found)
    (path / "tokenizer.json").write_text("of a form that is not known yet")
    assert told in complaint_about(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": "x"}, "data must be a mapping, got 'x'"),
        ({"machine": [1]}, "machine must be a mapping, got [1]"),
        ({"resumed": 3}, "resumed must be a list, got 3"),
        ({"processes": "two"}, "processes must be a whole number, got 'two'"),
    ],
)
def test_a_manifest_of_other_types_is_one_line(saved, changes, told):
    _, path = saved
    change_json(path / MANIFEST_FILE, **changes)
    assert told in complaint_about(path)


def test_a_run_of_before_formats_were_counted_opens(saved):
    _, path = saved
    manifest = read_json(path / MANIFEST_FILE)
    assert manifest.pop("format") == FORMAT
    write_json(path / MANIFEST_FILE, manifest)
    assert open_run(path).manifest == manifest


def change_weights(path, change):
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_weights_that_are_no_numbers_are_an_error(saved, value):
    _, path = saved
    change_weights(path, lambda tensors: tensors["model.norm.weight"].__setitem__(3, value))
    assert "model.norm.weight holds NaN or infinity" in complaint_about(path)


@pytest.mark.parametrize("code", [4, 99, -1])
def test_strings_of_other_letters_are_an_error(saved, code):
    _, path = saved
    name = "model.layers.0.attention.observables.codes"
    change_weights(path, lambda tensors: tensors[name].fill_(code))
    assert f"{name} holds invalid Pauli codes" in complaint_about(path)


def test_a_tokenizer_of_another_model_is_an_error(saved):
    _, path = saved
    char_tokenizer(ALPHABET + "d").save_pretrained(path)
    assert "the tokenizer has 6 tokens, but the model has 5" in complaint_about(path)


def test_molecules_need_a_tokenizer_of_smiles(saved):
    _, path = saved
    (path / SETTINGS_FILE).write_text(yaml.safe_dump({**TOY, "task": "molecules"}))
    assert "not a SMILES tokenizer" in complaint_about(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_hidden_layers": 10**9}, "asks for"),
        ({"max_position_embeddings": 2**50}, "asks for"),
        ({"model_type": "gpt2"}, "describes a 'gpt2' model, not a Ketformer one"),
        ({"auto_map": {"AutoConfig": "evil.Evil"}}, "auto_map must name classes of modeling_"),
        ({"attn_implementation": "someone/kernel"}, "attn_implementation must be sdpa or eager"),
        ({"quantization_config": {"load_in_8bit": True}}, "unknown configuration key"),
        ({"dtype": "float99"}, "float99"),
        ({"attention_options": {"hilbert_dim": "8"}}, "option hilbert_dim must be int or null"),
        ({"attention_options": {"hilbert_dim": 2**40}}, "40 qubits are too many"),
        ({"attention_options": [1]}, "attention_options"),
    ],
    ids=str,
)
def test_a_hostile_configuration_is_one_line_at_once(saved, changes, told):
    """Each of these would otherwise fill the memory, fetch code, or end in a traceback."""
    _, path = saved
    change_json(path / "config.json", **changes)
    assert told in complaint_about(path)


def test_weights_as_a_pickle_are_not_looked_at(saved, tmp_path):
    _, path = saved
    proof = tmp_path / "proof"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(proof),)

    weights = (path / "model.safetensors").read_bytes()
    torch.save({"lm_head.weight": Bomb()}, path / "pytorch_model.bin")
    assert open_run(path)
    (path / "model.safetensors").unlink()
    assert "no model.safetensors" in complaint_about(path)
    torch.save({"lm_head.weight": Bomb()}, path / "model.safetensors")
    with (path / "model.safetensors").open("ab") as file:
        file.truncate(len(weights))
    assert "cannot be loaded" in complaint_about(path)
    assert not proof.exists()


def test_tied_weights_are_not_missing(saved):
    model, path = saved
    config = KetformerConfig(**{**model.config.to_dict(), "tie_word_embeddings": True})
    KetformerForCausalLM(config).save_pretrained(path)
    assert "lm_head.weight" not in load_file(path / "model.safetensors")
    weights = open_run(path).model
    assert weights.lm_head.weight is weights.model.embed_tokens.weight


# --- Files -------------------------------------------------------------------------------------


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "result.json"
    write_json(path, {"a": 1, "ü": [1.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "ü": [1.5, None]}
    before = path.read_text()
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == before


def test_a_write_that_fails_leaves_the_old_file(monkeypatch, tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})

    def fail(self, target):
        assert json.loads(path.read_text()) == {"a": 1}  # still the old one
        assert json.loads(self.read_text()) == {"a": 2}  # and the new one is complete
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_metrics_survive_writing_and_an_unfinished_last_line(tmp_path):
    rows = [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 2.25, "note": "ü"}]
    write_metrics(tmp_path, rows)
    assert read_metrics(tmp_path) == rows
    with (tmp_path / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write('{"step": 30, "lo')
    assert read_metrics(tmp_path) == rows


def test_a_run_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []


def test_a_manifest_says_when_where_and_with_what():
    manifest = make_manifest(seed=3)
    assert manifest["seed"] == 3
    assert manifest["created"].endswith("+00:00")
    machine = manifest["machine"]
    assert machine["cores"] >= 1
    assert torch.__version__.startswith(machine["versions"]["torch"].split("+")[0])
    assert all(machine["versions"].values())
    assert {"ketformer", "torch", "transformers"} <= set(machine["versions"])
    json.dumps(manifest)


def test_a_folder_of_save_pretrained_says_what_it_lacks(saved):
    path = saved[1]
    for name in (SETTINGS_FILE, MANIFEST_FILE):
        (path / name).rename(path.parent / name)
    said = complaint_about(path)
    assert "not a run: it has no settings.yaml and manifest.json; copy these" in said
    for name in (SETTINGS_FILE, MANIFEST_FILE):
        (path.parent / name).rename(path / name)
    open_run(path)


# --- The length that a tokenizer truncates to -----------------------------------------------------


def test_a_saved_tokenizer_knows_the_model_s_context(tmp_path):
    model = KetformerForCausalLM(
        KetformerConfig(vocab_size=len(ALPHABET), hidden_size=8, max_position_embeddings=6)
    )
    save_model(tmp_path, model, char_tokenizer(ALPHABET))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.model_max_length == 6
    ids = loaded("abcabcabc", truncation=True, return_tensors="pt")
    assert model(**ids).logits.shape == (1, 6, len(ALPHABET))


def test_an_opened_run_knows_it_even_if_its_files_do_not(saved):
    assert open_run(saved[1]).tokenizer.model_max_length == 128
