"""Settings of a training run: presets and files, changed from the command line, checked."""

import sys
import types
import typing
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum

import pytest
import yaml
from accelerate.parallelism_config import ParallelismConfig
from transformers import TrainingArguments

from ketformer.attention import ATTENTION
from ketformer.attention.layers import Mechanisms
from ketformer.errors import KetformerError
from ketformer.models import PRESETS, KetformerConfig, preset
from ketformer.runs import Settings, load_settings
from ketformer.runs.settings import model_keys
from ketformer.utils.choices import Activation, Positions
from ketformer.utils.declared import field_helps, field_types


def complaint_about(call, *args):
    """The message for a wrong setting, which must be one line."""
    with pytest.raises(KetformerError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path, content):
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


# --- Options -----------------------------------------------------------------------------------


NAMED = {
    "Activation": Activation,
    "Mechanisms": Mechanisms,
    "ParallelismConfig": ParallelismConfig,
    "Positions": Positions,
}


def plain(hint):
    """The type with text in place of enumerations, as a command line has them."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return str
    if arguments := typing.get_args(hint):
        changed = [plain(argument) for argument in arguments]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            return typing.Union[tuple(changed)]  # noqa: UP007
        return hint if typing.get_origin(hint) is typing.Literal else hint.__origin__[*changed]
    return hint


@pytest.mark.parametrize("cls", [KetformerConfig, TrainingArguments])
def test_the_options_read_from_a_source_are_those_of_the_class(cls):
    """With their types, and in Trainer's case their help."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    inherited = {f.name for base in cls.__mro__[1:] if is_dataclass(base) for f in fields(base)}
    hints = typing.get_type_hints(cls) if cls is TrainingArguments else cls.__annotations__
    ours = [f for f in fields(cls) if f.init and f.name not in inherited]
    read = field_types(target, NAMED)
    assert read == {f.name: plain(hints[f.name]) for f in ours}
    told = {f.name: f.metadata["help"] for f in ours if "help" in f.metadata}
    assert field_helps(target) == told


# --- Presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves_to_settings_that_pass_their_own_check(name):
    settings = load_settings(name)
    assert settings.name == name
    content = preset(name)
    assert settings.model == content["model"]
    assert settings.training == content["training"]
    assert (settings.data, settings.split) == (content["data"], content["split"])
    assert settings.override({**settings.model, **settings.training}) == settings
    KetformerConfig(**settings.model)


def test_the_gpt1_preset_asks_for_gpt1s_vocabulary():
    settings = load_settings("gpt1")
    assert (settings.tokenizer, settings.vocab_size) == ("bpe", 40_478)


def test_an_unknown_preset_is_an_error_that_lists_the_known():
    message = complaint_about(load_settings, "gpt9")
    assert "no preset or YAML file 'gpt9'" in message
    assert all(name in message for name in PRESETS)


# --- Files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_settings_survive_a_file(tmp_path, name):
    settings = load_settings(name).override({"attention": "qsann", "learning_rate": 1e-5})
    path = write(tmp_path / "other.yaml", settings.to_dict())
    assert load_settings(path) == settings


def test_a_file_may_say_little(tmp_path):
    path = write(tmp_path / "mine.yaml", "data: embedded\nmodel: {hidden_size: 32}\n")
    assert load_settings(path) == Settings(
        name="mine", data="embedded", model={"hidden_size": 32}, training={}
    )


def test_numbers_in_a_file_may_be_written_as_people_write_them(tmp_path):
    """YAML 1.1 reads 3e-3 as a string."""
    path = write(tmp_path / "mine.yaml", "training: {learning_rate: 3e-3, max_steps: '50'}\n")
    assert load_settings(path).training == {"learning_rate": 0.003, "max_steps": 50}


def test_lists_and_mappings_in_a_file_stay_what_they_are(tmp_path):
    options = {"score": "dot", "temperature": 2.0}
    path = write(tmp_path / "mine.yaml", {"model": {"attention_options": options}})
    assert load_settings(path).model["attention_options"] == options


def test_conditions_may_be_a_list_in_a_file(tmp_path):
    content = {"task": "molecules", "conditions": ["LogP", "TPSA"]}
    assert load_settings(write(tmp_path / "mine.yaml", content)).conditions == "LogP,TPSA"
    for wrong in ([], ["LogP", 1], ["a,b"]):  # a comma would split the name
        path = write(tmp_path / "wrong.yaml", {**content, "conditions": wrong})
        assert "'conditions' must be" in complaint_about(load_settings, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: {hiden_size: 3}", "unknown setting 'hiden_size'; did you mean 'hidden_size'?"),
        ("training: {learning_rat: 3}", "did you mean 'learning_rate'?"),
        ("optimizer: adam", "unknown setting 'optimizer'"),
        ("model: [1, 2]", "model must be a mapping"),
        ("training: 3", "training must be a mapping"),
        ("- a\n- b", "expected a mapping"),
        ("", "expected a mapping"),
        ("model: {a: [}", "mine.yaml"),
        ("model: {hidden_size: wide}", "setting 'hidden_size' must be int, got 'wide'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_file(tmp_path, content, said):
    message = complaint_about(load_settings, write(tmp_path / "mine.yaml", content))
    assert "mine.yaml" in message
    assert said in message


def test_a_file_that_is_not_there_or_not_text_is_an_error(tmp_path):
    assert "none.yaml" in complaint_about(load_settings, str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml" in complaint_about(load_settings, str(tmp_path / "bytes.yaml"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: ../../etc", "name must be a plain name"),
        ("name: /tmp/x", "name must be a plain name"),
        ("name: .hidden", "name must be a plain name"),
        ("name: ''", "name must be a plain name"),
        ("name: [a]", "name must be a plain name"),
        ("name: a\\b", "name must be a plain name"),
        ('name: "a\\nb"', "name must be a plain name"),
        (f"name: {'a' * 101}", "name must be a plain name"),
        ("training: {learning_rate: .nan}", "'learning_rate' must be finite"),
        ("training: {learning_rate: .inf}", "'learning_rate' must be finite"),
        ("training: {weight_decay: 1e999}", "'weight_decay' must be finite"),
        ("data: &d x\ncolumn: *d", "aliases are not allowed"),
    ],
)
def test_a_hostile_file_is_one_line_that_names_it(tmp_path, content, said):
    message = complaint_about(load_settings, write(tmp_path / "mine.yaml", content))
    assert "mine.yaml" in message
    assert said in message


@pytest.mark.parametrize("name", ["my run", "a.b+c-1_2", "Versuch ä", "9"])
def test_plain_names_are_names(tmp_path, name):
    assert load_settings(write(tmp_path / "x.yaml", {"name": name})).name == name


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"attention_options": {"x": {"class_path": "evil.Evil"}}}},
        {"model": {"attention_options": {"class_path": "evil.Evil", "init_args": {}}}},
        {"model": {"attention_options": '{"x": {"class_path": "evil.Evil"}}'}},
        {"model": {"attention_options": {"x": '{"class\\u005fpath": "evil.Evil"}'}}},
        {"backend_options": {"x": [{"class_path": "evil.Evil"}]}},
        {"training": {"lr_scheduler_kwargs": {"class_path": "evil.Evil"}}},
        {"training": {"gradient_checkpointing_kwargs": {"x": {"class_path": "evil.Evil"}}}},
        {"training": {"lr_scheduler_kwargs": '{"x": {"class_path": "evil.Evil"}}'}},
    ],
    ids=str,
)
def test_a_class_that_a_file_names_is_not_imported(monkeypatch, tmp_path, content):
    """jsonargparse would import it where a setting may be anything."""
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'proof')!r}, 'w')\nclass Evil:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with suppress(KetformerError):
        load_settings(write(tmp_path / "mine.yaml", content))
    assert "evil" not in sys.modules
    assert not (tmp_path / "proof").exists()


# --- Changes -----------------------------------------------------------------------------------


def test_each_change_goes_where_it_belongs():
    before = load_settings("qisa-small")
    after = before.override(
        {"data": "embedded", "hidden_size": 32, "max_steps": 7, "seed": 3, "vocab_size": 300}
    )
    assert (after.data, after.vocab_size, after.name) == ("embedded", 300, "qisa-small")
    assert after.model == {**before.model, "hidden_size": 32}
    assert after.training == {**before.training, "max_steps": 7, "seed": 3}
    assert before == load_settings("qisa-small")  # a copy was changed


@pytest.mark.parametrize(
    ("key", "given", "where", "read"),
    [
        ("learning_rate", "3e-3", "training", 0.003),
        ("learning_rate", 1, "training", 1.0),
        ("max_steps", "20", "training", 20),
        ("bf16", "true", "training", True),
        ("hidden_size", "32", "model", 32),
        ("resid_pdrop", "0.5", "model", 0.5),
        ("resid_pdrop", 0, "model", 0.0),
        ("lm_head_bias", "false", "model", False),
        ("attention_bias", "null", "model", None),
        ("intermediate_size", None, "model", None),
        ("attention_options", '{"score": "dot"}', "model", {"score": "dot"}),
    ],
)
def test_values_are_read_by_the_type_of_their_key(key, given, where, read):
    value = getattr(Settings().override({key: given}), where)[key]
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hiden_size": 3}, "unknown setting 'hiden_size'; did you mean 'hidden_size'?"),
        ({"batch_size": 3}, "unknown setting 'batch_size'"),
        ({"output_dir": "x"}, "unknown setting 'output_dir'"),  # the run directory decides it
        ({"max_steps": "many"}, "setting 'max_steps' must be int, got 'many'"),
        ({"hidden_size": 1.5}, "setting 'hidden_size' must be int, got 1.5"),
        ({"learning_rate": "fast"}, "setting 'learning_rate' must be float, got 'fast'"),
        ({"norm_position": "mid"}, "'norm_position' must be one of pre, post, got 'mid'"),
        ({"attention_options": "dot"}, "setting 'attention_options' must be"),
        ({"data": 3}, "setting 'data' must be str, got 3"),
        ({"attention": None}, "attention must be a name or one for each layer, got None"),
    ],
    ids=str,
)
def test_a_wrong_change_is_one_line_that_names_the_key(changes, said):
    assert said in complaint_about(load_settings("qisa-small").override, changes)


def test_another_attention_starts_from_its_own_options():
    tuned = load_settings("qisa-small").override({"attention_options": {"hilbert_dim": 4}})
    assert tuned.override({"attention": "qisa"}) == tuned  # the same attention
    assert tuned.override({"hidden_size": 32}).model["attention_options"] == {"hilbert_dim": 4}
    assert "attention_options" not in tuned.override({"attention": "qsann"}).model
    both = {"attention": "classical", "attention_options": {"score": "gaussian"}}
    assert tuned.override(both).model["attention_options"] == {"score": "gaussian"}


@pytest.mark.parametrize("spelled", ["overlap,qisa", "overlap + qisa", ["overlap", "qisa"]])
def test_a_mechanism_for_each_layer_is_a_list(spelled):
    options = {"overlap": {"n_qubits": 3}, "qisa": {"score": "dot"}}
    base = load_settings("char-small").override({"num_hidden_layers": 2})
    hybrid = base.override({"attention": spelled, "attention_options": options})
    assert hybrid.model["attention"] == hybrid.attention == ["overlap", "qisa"]
    assert hybrid.model["attention_options"] == options
    assert hybrid.override({"attention": "overlap+qisa"}) == hybrid
    assert "attention_options" not in hybrid.override({"attention": "qisa,overlap"}).model
    KetformerConfig(**hybrid.model)


def test_one_more_option_of_a_mechanism_keeps_its_others():
    given = {"overlap": {"layers": 2}, "overlap.n_qubits": 3}
    changed = load_settings("char-small").override(
        {"attention": "overlap,qisa", "attention_options": given}
    )
    assert changed.model["attention_options"] == {"overlap": {"layers": 2, "n_qubits": 3}}


def test_the_packages_of_every_layer_are_listed(monkeypatch):
    known = {"qisa": "theirs==1.2", "overlap": "others==3"}
    monkeypatch.setattr(ATTENTION, "package_of", known.get)
    base = load_settings("char-small")
    for attention, packages in {
        "classical": [],
        "qisa": ["theirs==1.2"],
        "qisa,classical,overlap,qisa": ["others==3", "theirs==1.2"],
    }.items():
        assert base.override({"attention": attention}).packages() == packages


@pytest.mark.parametrize("attention", ATTENTION)
def test_every_attention_can_be_put_into_every_preset(attention):
    for name in PRESETS:
        settings = load_settings(name).override({"attention": attention})
        assert KetformerConfig(**settings.model).attention == attention


def test_every_model_key_is_one_of_the_configuration():
    defaults = KetformerConfig().to_dict()
    assert set(model_keys()) <= set(defaults)
    assert "attention" in model_keys()
    assert not {"vocab_size", "use_cache"} & set(model_keys())  # not for a run to choose
