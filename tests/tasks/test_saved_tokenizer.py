"""Tokenizers of run directories: restored as saved, whatever else their files may hold."""

import json

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.tokenizer import QM9_VOCABULARY, smiles_tokenizer
from ketformer.tasks.saved_tokenizer import load_tokenizer
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer, encode

MADE = {
    "characters": lambda: char_tokenizer("Ein Text\n\t\u2028 é🙂"),
    "one": lambda: char_tokenizer("a"),
    "bpe": lambda: bpe_tokenizer("the cat and the hat and the mat " * 20, 300),
    "smiles": lambda: smiles_tokenizer(QM9_VOCABULARY),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_tokenizer_is_loaded_as_it_was_saved(tmp_path, kind):
    saved = MADE[kind]()
    saved.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert json.loads(loaded.backend_tokenizer.to_str()) == json.loads(
        saved.backend_tokenizer.to_str()
    )
    special = ("bos_token_id", "eos_token_id", "pad_token_id", "padding_side")
    assert all(getattr(loaded, key) == getattr(saved, key) for key in special)


def test_a_tokenizer_of_an_earlier_version_is_loaded_and_no_longer_ends_prompts(tmp_path):
    """It wrote [EOS] behind every prompt, knew no length, and named transformers' own class."""
    made = MADE["smiles"]()
    made.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    bos, eos = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[EOS]"))
    content["post_processor"]["single"] = [bos, {"Sequence": {"id": "A", "type_id": 0}}, eos]
    content["post_processor"]["special_tokens"]["[EOS]"] = {
        "id": "[EOS]",
        "ids": [made.eos_token_id],
        "tokens": ["[EOS]"],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "TokenizersBackend"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    as_it_was = AutoTokenizer.from_pretrained(tmp_path)
    assert as_it_was("CO")["input_ids"][-1] == made.eos_token_id
    assert load_tokenizer(tmp_path)("CO") == made("CO")


def changed(tmp_path, kind, **model):
    """Save a tokenizer with a changed model; return its folder."""
    MADE[kind]().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"] |= model
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "model", "told"),
    [
        ("characters", {"vocab": {}}, "no vocabulary"),
        ("characters", {"vocab": ["a", "b"]}, "no vocabulary"),
        ("characters", {"vocab": {"a": 0, "b": 2}}, "not numbered from 0"),
        ("characters", {"vocab": {"a": 0, "b": 4294967295}}, "not numbered from 0"),
        ("characters", {"vocab": {"a": 0, "b": -1}}, "not numbered from 0"),
        ("characters", {"vocab": {"a": 0, "b": True}}, "not numbered from 0"),
        ("characters", {"vocab": {"a": 0, "b": "1"}}, "not numbered from 0"),
        ("characters", {"vocab": {"b": 0, "a": 1}}, "numbered out of order"),
        ("characters", {"vocab": {"a": 0, "bc": 1}}, "neither characters nor SMILES"),
        ("characters", {"vocab": {"a": 0, "\ud800": 1}}, "cannot be read"),
        ("characters", {"type": "Unigram"}, "neither a word-level tokenizer nor a BPE"),
        ("smiles", {"vocab": {"[CLS]": 0, "C C": 1}}, "'C C' is not a SMILES token"),
        ("smiles", {"vocab": {"[CLS]": 0, "C": 1}}, "numbered out of order"),
        ("bpe", {"vocab": {"a": 0}}, "bytes have no token"),
        ("bpe", {"merges": [["a", "zzz"]]}, "cannot be read"),
        ("bpe", {"merges": 3}, "cannot be read"),
        ("bpe", {"merges": [["a", 3]]}, "cannot be read"),
    ],
    ids=str,
)
def test_what_ketformer_did_not_write_is_one_line(tmp_path, kind, model, told):
    folder = changed(tmp_path, kind, **model)
    with pytest.raises(KetformerError) as caught:
        load_tokenizer(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_patterns_and_tables_of_a_file_play_no_part(tmp_path, capfd):
    """The pattern would take forever, the table would crash the process with a long stack trace."""
    hostile = Tokenizer(models.WordLevel({"a": 0, "b": 1}))
    hostile.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=hostile).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert encode(load_tokenizer(tmp_path), "a" * 40 + "b").tolist() == [0] * 40 + [1]
    assert "panicked" not in capfd.readouterr().err


def test_code_that_a_file_names_is_neither_run_nor_asked_about(monkeypatch, tmp_path):
    """transformers would ask at the terminal whether to run it."""
    MADE["characters"]().save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')\n")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    assert len(load_tokenizer(tmp_path)) == len(MADE["characters"]())
    assert not (tmp_path / "proof").exists()
