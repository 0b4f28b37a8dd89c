"""SELFIES as a notation: the library's own, back to the same molecule, and SMILES outside."""

import re
import sys

import numpy as np
import pytest
import selfies
import yaml
from hypothesis import given, settings, strategies as st

from commands import rows_of, write_molecule_settings
from ketformer.errors import KetformerError, UnreadableError
from ketformer.runs import open_run
from ketformer.tasks.molecules.data import prepare_molecules
from ketformer.tasks.molecules.selfies_text import (
    draw_selfies,
    read_selfies,
    split_selfies,
    write_selfies,
)
from ketformer.tasks.molecules.tokenizer import decode_smiles, encode_smiles

from .druglike import canonical, drug_like


@settings(max_examples=60, deadline=None)
@given(drug_like, st.integers(0, 2**32 - 1))
def test_texts_are_the_librarys_and_mean_the_same_molecule(smiles, seed):
    text = write_selfies(smiles)
    assert text == selfies.encoder(smiles)
    assert split_selfies(text) == list(selfies.split_selfies(text))
    assert canonical(read_selfies(text)) == smiles
    drawn = draw_selfies(smiles, np.random.default_rng(seed))
    assert canonical(read_selfies(drawn)) == smiles


@pytest.mark.parametrize("text", ["[C]<pad>", "[C][CLS]", "<selfies>[C]", "[Foo]"])
def test_what_is_not_selfies_is_no_molecule(text):
    assert read_selfies(text) == text
    assert canonical(text) is None


@pytest.mark.parametrize("smiles", ["*C", "C->[Fe]", "c1ccc("])
def test_a_smiles_without_selfies_is_named(smiles):
    with pytest.raises(UnreadableError) as caught:
        write_selfies(smiles)
    assert f"{smiles!r} cannot be written as SELFIES" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "C", "[C]]", "[EOS]", "[C][EOS]"])
def test_a_text_that_is_not_selfies_is_refused(text):
    with pytest.raises(UnreadableError, match="is not SELFIES"):
        split_selfies(text)


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "selfies", None)
    with pytest.raises(KetformerError, match=r"pip install 'ketformer\[selfies\]'"):
        write_selfies("CC")


def test_data_with_a_molecule_that_has_none_is_refused(tmp_path):
    file = tmp_path / "x.smi"
    file.write_text("\n".join(["CC", "CCC", "CCCC", "*CC"]))
    with pytest.raises(KetformerError, match=r"'\*CC' cannot be written as SELFIES"):
        prepare_molecules(str(file), notation="selfies", progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 30 steps on random SELFIES of small molecules."""
    from ketformer.cli import main

    folder = tmp_path_factory.mktemp("selfies")
    smiles = [f"C{'C' * n}({a})c1cc{b}cc1" for n in range(1, 6) for a in "NOF" for b in "nc"]
    (folder / "few.smi").write_text("\n".join(smiles))
    options = {
        "tokenizer": "selfies",
        "randomise_smiles": True,
        "model": {
            "attention": "classical",
            "attention_options": {},
            "max_position_embeddings": 60,
        },
        "training": {"max_steps": 30, "save_steps": 30, "eval_steps": 30},
    }
    settings = write_molecule_settings(folder / "few.yaml", folder / "few.smi", **options)
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_reopened_run_encodes_and_decodes_smiles(run):
    opened = open_run(run)
    assert opened.settings.tokenizer == "selfies"
    assert yaml.safe_load((run / "settings.yaml").read_text())["tokenizer"] == "selfies"
    smiles = "CCC(N)c1ccccc1"
    assert canonical(decode_smiles(opened.tokenizer, encode_smiles(opened.tokenizer, [smiles]))[0])
    assert opened.tokenizer.bos_token == "<selfies>"


def test_samples_are_smiles_and_all_are_valid(ketformer, run, tmp_path):
    done = ketformer("generate", run, "--num", 60, "--out", tmp_path / "x.csv", "--json")
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "x.csv")
    assert done.json["validity"] == sum(bool(row["smiles"]) for row in rows) / 60 > 0.9
    for row in rows:
        assert row["canonical_smiles"] == (canonical(row["smiles"]) if row["smiles"] else "")


def test_a_prompt_is_a_whole_smiles(ketformer, run, tmp_path):
    options = ("--num", 20, "--prompt", "NC", "--out", tmp_path / "x.csv", "--json")
    assert ketformer("generate", run, *options).code == 0
    sampled = [row["smiles"] for row in rows_of(tmp_path / "x.csv")]
    assert all(re.match(r"N.?\(?[#=]?C", text) for text in sampled), sampled
    assert len(set(sampled)) > 5
    told = "cannot begin with this prompt: 'c1ccc(' cannot be written as SELFIES"
    ketformer("generate", run, "--prompt", "c1ccc(").assert_mistake(told)


def test_it_is_evaluated_as_any_other_run(ketformer, run):
    done = ketformer("evaluate", run, "--samples", 30, "--fcd", "false", "--json")
    assert done.code == 0, done.err
    assert done.json["validity"] > 0.9
    assert done.json["novelty"] is not None
