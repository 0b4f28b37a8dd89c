"""The model card: its content, the edits that it keeps, and what is sent to the Hub."""

import json
import os

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub import Hub
from ketformer.tasks.text import char_tokenizer
from mechanisms import MECHANISMS

from .helpers import small_config, small_model, some_ids


def card_of(folder):
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("attention", MECHANISMS)
def test_a_saved_model_says_what_it_is(tmp_path, attention):
    model = small_model(attention)
    model.save_pretrained(tmp_path)
    card = card_of(tmp_path)
    assert (card.data.library_name, card.data.pipeline_tag) == ("ketformer", "text-generation")
    assert attention in card.data.tags
    assert f"| parameters | {model.num_parameters():,} |" in card.text
    assert f"`{attention}`" in card.text
    assert "AutoModelForCausalLM.from_pretrained" in card.text
    assert "trust_remote_code=True" in card.text
    leaky = card.text.strip().splitlines()[0].startswith("**This model is not causal.**")
    assert leaky is not model.is_causal


def test_the_options_of_the_attention_are_on_it(tmp_path):
    small_model("qisa", attention_options={"score": "dot"}).save_pretrained(tmp_path)
    assert "`score=dot`" in card_of(tmp_path).text
    assert "`temperature=1.0`" in card_of(tmp_path).text  # a default


def test_a_card_that_nobody_edited_is_brought_up_to_date(tmp_path):
    small_model("qisa").save_pretrained(tmp_path)
    small_model("classical").save_pretrained(tmp_path)
    assert "`classical`" in card_of(tmp_path).text
    assert "qisa" not in card_of(tmp_path).text


@pytest.mark.parametrize("edit", ["{}My own words.\n", "My own words.\n{}", "My own words.\n"])
def test_an_edited_card_stays_as_it_is(tmp_path, edit):
    small_model("qisa").save_pretrained(tmp_path)
    file = tmp_path / "README.md"
    file.write_text(edit.format(file.read_text()))
    before = file.read_bytes()
    small_model("classical").save_pretrained(tmp_path)
    assert file.read_bytes() == before


def test_one_of_several_processes_writes_it(tmp_path):
    small_model().save_pretrained(tmp_path, is_main_process=False)
    assert not (tmp_path / "README.md").exists()


def test_what_the_hub_is_sent_is_the_whole_model(tmp_path, monkeypatch):
    hub, tokenizer = Hub(monkeypatch), char_tokenizer("abcdefghijklm")
    model = small_model(["overlap", "qisa"])
    model.push_to_hub("me/model")
    tokenizer.push_to_hub("me/model")
    assert "modeling_ketformer.py" in hub.sent
    hub.saved_to(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(some_ids(2, 5)).logits, model(some_ids(2, 5)).logits)
    assert AutoTokenizer.from_pretrained(tmp_path)("abba")["input_ids"] == [0, 1, 1, 0]


@pytest.mark.parametrize("before", [False, True], ids=["new", "again"])
def test_a_configuration_is_sent_with_the_module_that_it_names(tmp_path, monkeypatch, before):
    hub, folder = Hub(monkeypatch), tmp_path / "model"
    if before:  # what was there before an upload is not sent again unless it is written again
        small_config("overlap").save_pretrained(folder)
        for path in folder.iterdir():
            os.utime(path, (0, 0))
    small_config("qisa").save_pretrained(str(folder), push_to_hub=True, repo_id="me/model")
    assert set(hub.sent) == {"config.json", "modeling_ketformer.py"}
    sent = json.loads(hub.sent["config.json"])
    assert sent["auto_map"]["AutoConfig"] == "modeling_ketformer.KetformerConfig"
    assert b"ketformer.models" in hub.sent["modeling_ketformer.py"]


@pytest.mark.parametrize("remote", [None, "sealed", "edited"])
def test_the_hub_is_sent_our_card_unless_it_has_an_edited_one(tmp_path, monkeypatch, remote):
    small_model("classical").save_pretrained(tmp_path)
    sealed = (tmp_path / "README.md").read_text()
    theirs = {None: None, "sealed": sealed, "edited": "---\ntags: [mine]\n---\nMy words.\n"}
    hub = Hub(monkeypatch, theirs[remote])
    small_model("qisa").push_to_hub("me/model")
    assert {"README.md", "config.json", "model.safetensors"} <= set(hub.sent)
    sent = hub.sent["README.md"].decode()
    assert ("My words." in sent) is (remote == "edited")
    assert ("`qisa`" in sent) is (remote != "edited")
