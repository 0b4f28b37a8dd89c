"""``ketformer train --init RUN``: a run that begins with the weights of another."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from commands import cut_off, largest_difference, metrics, without_times
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.models.carry_over import carry_over
from ketformer.runs import open_run
from ketformer.runs.directory import weights_sha256

SERIES = ["CCO", "CCN", "CC=O", "CCC", "CNC", "COC", "C=CO", "N#CC", "OCO", "NCN", "CCCO", "CCCN"]
SERIES += [f"{first}{rest}" for first in "CNO" for rest in ("C1CC1", "C(C)C", "CC#N", "CC=C")]
SHORT = ("--max_steps", 2, "--report_to", "none")


@pytest.fixture
def series(tmp_path):
    """A table of two dozen molecules with a measured column."""
    path = tmp_path / "series.csv"
    rows = [f"{smiles},{len(smiles) + 0.5 * (i % 3)}" for i, smiles in enumerate(SERIES)]
    path.write_text("smiles,pIC50\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def tune(ketformer, series, tmp_path):
    """``tune(run, *options)``: the new run."""

    def call(first, *options, out="tuned", data=series):
        given = ("--init", first, "--data", data, *SHORT, *options, "--out", tmp_path / out)
        done = ketformer("train", *given)
        assert done.code == 0, done.err
        call.said.append(done.err)
        return tmp_path / out

    call.said = []
    return call


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


def test_before_the_first_step_it_is_the_other_run(conditional, tune):
    """With a rate of 0 nothing changes but the file: weights, tokenizer and statistics are kept."""
    run = tune(conditional, "--learning_rate", 0)
    assert largest_difference(run, conditional) == 0
    assert (run / "tokenizer.json").read_bytes() == (conditional / "tokenizer.json").read_bytes()
    before, after = (json.loads((path / "config.json").read_text()) for path in (conditional, run))
    assert {key for key in before if before[key] != after[key]} <= {"condition_ranges"}
    init = manifest(run)["init"]
    assert init["weights_sha256"] == weights_sha256(conditional)
    assert (init["added_tokens"], init["unknown_conditions"]) == ([], [])
    card = (run / "README.md").read_text()
    assert f"{conditional.name}, weights with SHA-256 {weights_sha256(conditional)}" in card
    assert str(conditional) not in card


def test_default_sizes_suit_a_small_series(ketformer, conditional, series):
    """Of the 500 steps, three are made here."""
    with cut_off(3):
        assert ketformer("train", "--init", conditional, "--data", series).code == 130
    (out,) = Path("runs").iterdir()
    settings = (out / "settings.yaml").read_text()
    assert out.name == f"{conditional.name}-tuned-seed42"
    assert "max_steps: 500" in settings
    assert "learning_rate: 0.002" in settings  # a tenth


def test_resumed_it_ends_as_if_it_had_not_been_stopped(
    ketformer, molecules, tune, series, tmp_path
):
    options = ("--max_steps", 6, "--save_steps", 2, "--eval_steps", 2)
    whole = tune(molecules, *options)
    out = ("--out", tmp_path / "parts")
    with cut_off(3):
        given = ("--init", molecules, "--data", series, *SHORT, *options)
        assert ketformer("train", *given, *out).code == 130
    assert ketformer("train", *out, "--resume").code == 0
    assert largest_difference(whole, tmp_path / "parts") == 0
    assert without_times(metrics(whole)) == without_times(metrics(tmp_path / "parts"))
    assert manifest(whole)["init"] == manifest(tmp_path / "parts")["init"]


def test_it_is_not_resumed_from_other_weights(ketformer, molecules, series, tmp_path):
    first = shutil.copytree(molecules, tmp_path / "first")
    out = ("--out", tmp_path / "parts")
    with cut_off(2):
        ketformer("train", "--init", first, "--data", series, "--max_steps", 3, *out)
    weights = load_file(first / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, first / "model.safetensors")
    ketformer("train", *out, "--resume").assert_mistake("begun with other weights")


# --- Tokens --------------------------------------------------------------------------------------


def test_new_tokens_are_named_or_added(ketformer, molecules, tune, tmp_path):
    data = tmp_path / "new.smi"
    data.write_text("\n".join([*SERIES, "CCBr", "CS(=O)C"]))
    given = ("train", "--init", molecules, "--data", data, *SHORT, "--out", tmp_path / "no")
    ketformer(*given).assert_mistake("does not know: 'Br', 'S'", "--add_tokens true")
    assert not (tmp_path / "no").exists()
    run = tune(molecules, "--add_tokens", "true", "--learning_rate", 0, data=data)
    assert manifest(run)["init"]["added_tokens"] == ["Br", "S"]
    before, after = open_run(molecules), open_run(run)
    ids = before.tokenizer("CCO", return_tensors="pt")["input_ids"]
    again = after.tokenizer("CCO", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        old, new = before.model(ids).logits, after.model(again).logits
    places = after.tokenizer.get_vocab()
    kept = [places[token] for token in sorted(before.tokenizer.get_vocab())]
    torch.testing.assert_close(new[..., kept], old)
    torch.testing.assert_close(new[..., places["Br"]], old.mean(-1))  # linear in the weights


@pytest.mark.parametrize("tied", [True, False])
def test_tied_heads_grow_with_the_embedding(tied):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"tie_word_embeddings": tied, "attention": "classical_eq"}
    old = KetformerForCausalLM(KetformerConfig(vocab_size=3, **sizes)).eval()
    new = KetformerForCausalLM(KetformerConfig(vocab_size=4, **sizes)).eval()
    carry_over(old, new, [0, None, 1, 2])
    assert (new.lm_head.weight is new.model.embed_tokens.weight) == tied
    places = torch.tensor([0, 2, 3])
    with torch.no_grad():
        was, now = old(torch.tensor([[0, 1, 2]])).logits, new(places[None]).logits
    torch.testing.assert_close(now[..., places], was)


def test_text_keeps_its_alphabet_or_gets_a_larger_one(ketformer, honest, tune, tmp_path):
    data = tmp_path / "letters.txt"
    data.write_text("to be or not to be " * 40 + "é" + "to be or not to be " * 40)
    given = ("train", "--init", honest, "--data", data, *SHORT, "--out", tmp_path / "no")
    ketformer(*given).assert_mistake("letters.txt has tokens that", "know: 'b', 'é'")
    run = open_run(tune(honest, "--add_tokens", "true", data=data))
    assert set(run.tokenizer.get_vocab()) == {*open_run(honest).tokenizer.get_vocab(), "b", "é"}


# --- Conditions ----------------------------------------------------------------------------------


def test_conditions_are_kept_and_added(conditional, tune, ketformer):
    """A new one starts without an effect; old ones keep their statistics."""
    run = tune(conditional, "--conditions", "pIC50,LogP", "--learning_rate", 0)
    before, after = open_run(conditional).model, open_run(run).model
    assert after.config.condition_names == ["LogP", "TPSA", "pIC50"]
    assert after.config.condition_means[:2] == before.config.condition_means
    assert manifest(run)["init"]["added_conditions"] == ["pIC50"]
    ids = torch.tensor([[1, 2, 3]])
    known = torch.tensor([[1.0, float("nan"), 7.0]])
    with torch.no_grad():
        torch.testing.assert_close(
            after(ids, conditions=known).logits, before(ids, conditions=known[:, :2]).logits
        )
    sampled = ketformer("generate", run, "--num", 2, "--condition", "pIC50=4", "--json")
    assert sampled.code == 0, sampled.err


def test_a_condition_that_the_data_lack_is_unknown(conditional, tune, tmp_path, ketformer):
    measured = tune(conditional, "--conditions", "pIC50")
    data = tmp_path / "bare.smi"
    data.write_text("\n".join(SERIES))
    run = tune(measured, out="bare", data=data)
    assert "no column 'pIC50', which is unknown for every molecule" in tune.said[-1]
    assert manifest(run)["init"]["unknown_conditions"] == ["pIC50"]
    assert open_run(run).model.config.condition_names == ["LogP", "TPSA", "pIC50"]
    assert ketformer("evaluate", run, "--samples", 0).code == 0


# --- What contradicts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hidden_size", 32), "hidden_size is 16 in"),
        (("--attention", "classical"), "attention is overlap in"),
        (("--attention_options.n_qubits", 5), "attention_options is"),
        (("--task", "text"), "task is molecules in"),
        (("--conditions", "nothing"), "nothing"),
    ],
    ids=str,
)
def test_what_contradicts_the_other_run_is_refused(
    ketformer, molecules, series, tmp_path, options, said
):
    given = ("--init", molecules, "--data", series, *options, "--out", tmp_path / "out")
    ketformer("train", *given).assert_mistake(said)
    assert not (tmp_path / "out").exists()


def test_what_only_changes_the_training_may_differ(molecules, tune):
    run = open_run(tune(molecules, "--embd_pdrop", 0.25))
    assert run.model.config.embd_pdrop == 0.25


def test_a_comparison_starts_from_scratch(ketformer, honest, tiny):
    given = ("compare", "classical", "qisa", "--preset", tiny, "--init", honest)
    ketformer(*given, "--out", "compared").assert_mistake("init is for train alone")


def test_there_must_be_a_run_to_begin_with(ketformer, tmp_path, tiny_molecules):
    ketformer("train", "--init", tmp_path / "none").assert_mistake("no run directory")
    given = ("train", tiny_molecules, "--add_tokens", "true", "--out", tmp_path / "out")
    ketformer(*given).assert_mistake("needs init")
