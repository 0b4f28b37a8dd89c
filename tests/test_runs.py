"""Run directories: written whole or not at all, and one clear line for each broken file."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ketformer import runs
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import open_run
from ketformer.tasks.text import char_tokenizer, encode

ALPHABET = "\n abc"
SETTINGS = {"name": "toy", "data": "embedded", "split": "standard"}


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
    (path / runs.SETTINGS).write_text(yaml.safe_dump(SETTINGS))
    runs.write_json(path / runs.MANIFEST, runs.make_manifest(seed=3))
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
    assert run.settings == SETTINGS
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
    (path / runs.SETTINGS).write_bytes(content)
    assert runs.SETTINGS in complaint_about(path)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", runs.SETTINGS, runs.MANIFEST], ids=str
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
    config = runs.read_json(path / "config.json")
    runs.write_json(path / "config.json", {**config, **changes})
    message = complaint_about(path)
    assert "config.json" in message
    assert said in message


@pytest.mark.parametrize("changes", [{"hidden_size": 16}, {"vocab_size": 7}], ids=str)
def test_weights_of_another_size_than_the_configuration_are_an_error(saved, changes):
    _, path = saved
    config = runs.read_json(path / "config.json")
    runs.write_json(path / "config.json", {**config, **changes})
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
    runs.write_json(path, {"a": 1, "ü": [1.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "ü": [1.5, None]}
    before = path.read_text()
    with pytest.raises(TypeError):
        runs.write_json(path, {"a": object()})
    assert path.read_text() == before


def test_a_write_that_fails_leaves_the_old_file(monkeypatch, tmp_path):
    path = tmp_path / "result.json"
    runs.write_json(path, {"a": 1})

    def fail(self, target):
        assert json.loads(path.read_text()) == {"a": 1}  # still the old one
        assert json.loads(self.read_text()) == {"a": 2}  # and the new one is complete
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        runs.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_metrics_survive_writing_and_an_unfinished_last_line(tmp_path):
    rows = [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 2.25, "note": "ü"}]
    runs.write_metrics(tmp_path, rows)
    assert runs.read_metrics(tmp_path) == rows
    with (tmp_path / runs.METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 30, "lo')
    assert runs.read_metrics(tmp_path) == rows


def test_a_run_without_metrics_has_none(tmp_path):
    assert runs.read_metrics(tmp_path) == []


def test_a_manifest_says_when_where_and_with_what():
    manifest = runs.make_manifest(seed=3)
    assert manifest["seed"] == 3
    assert manifest["created"].endswith("+00:00")
    machine = manifest["machine"]
    assert machine["cores"] >= 1
    assert torch.__version__.startswith(machine["versions"]["torch"].split("+")[0])
    assert all(machine["versions"].values())
    assert {"ketformer", "torch", "transformers"} <= set(machine["versions"])
    json.dumps(manifest)
