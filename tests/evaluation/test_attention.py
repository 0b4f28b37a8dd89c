"""``ketformer attention``: pictures with something on them, and the weights they show."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from transformers import AutoModelForCausalLM, AutoTokenizer

from commands import write_molecule_settings
from ketformer.drawing.attention import share_of_the_future
from ketformer.evaluation import attention_weights
from ketformer.evaluation.attention import attention_svg
from ketformer.runs import open_run

SMILES = "CC(=O)N"
TOKENS = ["[CLS]", "C", "C", "(", "=", "O", ")", "N"]


@pytest.fixture(scope="module")
def deep(smi, tmp_path_factory):
    """A run with two blocks of two heads and one condition."""
    from ketformer.cli import main

    folder = tmp_path_factory.mktemp("deep")
    model = {"num_hidden_layers": 2, "attention_options": {"n_qubits": 2}}
    settings = write_molecule_settings(
        folder / "deep.yaml", smi, model=model, training={"max_steps": 15}, conditions="LogP"
    )
    assert main(["train", settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def look(ketformer, deep, tmp_path):
    """``look("--layer", 0)``: the JSON output for :data:`SMILES`."""

    def call(*options, run=deep):
        done = ketformer("attention", run, SMILES, "--out", tmp_path / "p", "--json", *options)
        assert done.code == 0, done.err
        return done.json

    return call


@torch.no_grad()
def weights_of(run, layer, logp=None):
    """``[heads, T, T]``, as transformers returns them."""
    model = AutoModelForCausalLM.from_pretrained(run).eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(run)(SMILES).input_ids])
    given = torch.tensor([[float("nan") if logp is None else logp]])
    out = model(ids, conditions=given, output_attentions=True, use_cache=False)
    return out.attentions[layer][0].numpy()


def test_the_weights_are_those_of_the_model(look, deep):
    assert look()["tokens"] == TOKENS
    last = weights_of(deep, 1)
    np.testing.assert_allclose(look()["weights"], last.mean(0), atol=1e-6)
    np.testing.assert_allclose(look("--layer", 1, "--head", 0)["weights"], last[0], atol=1e-6)
    first = weights_of(deep, 0)
    np.testing.assert_allclose(look("--layer", 0, "--head", 1)["weights"], first[1], atol=1e-6)
    np.testing.assert_allclose(look("--layer", -2, "--head", 1)["weights"], first[1], atol=1e-6)
    assert np.abs(first - last).max() > 1e-3  # so that one cannot pass for the other
    assert np.abs(last[0] - last[1]).max() > 1e-3


def test_rows_sum_to_one_and_nothing_lies_ahead(look):
    weights = np.array(look()["weights"])
    assert weights.shape == (8, 8)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert (np.triu(weights, 1) == 0).all()


def test_a_condition_is_told_to_the_model(look, deep):
    told = look("--condition", "LogP=1.5")["weights"]
    np.testing.assert_allclose(told, weights_of(deep, 1, 1.5).mean(0), atol=1e-6)
    assert np.abs(np.array(told) - look()["weights"]).max() > 1e-5


def test_two_pictures_each_as_png_and_svg(look, tmp_path):
    files = [Path(file) for file in look()["files"]]
    expected = {"tokens.png", "tokens.svg", "atoms.png", "atoms.svg"}
    assert {file.name for file in files} == expected
    assert {file.parent for file in files} == {tmp_path / "p"}
    assert {file.name for file in (tmp_path / "p").iterdir()} == expected
    for name in ("tokens", "atoms"):
        picture = imread(tmp_path / "p" / f"{name}.png")[..., :3]
        assert (picture < 0.9).any(-1).mean() > 0.005  # ink
        assert np.ptp(picture, axis=-1).max() > 0.3  # colour
        ElementTree.parse(tmp_path / "p" / f"{name}.svg")
    words = re.findall(r">([^<>\s]+)</text>", (tmp_path / "p/tokens.svg").read_text())
    for token in set(TOKENS):
        assert words.count(token) >= 2 * TOKENS.count(token)  # on both axes


def test_another_head_is_another_picture(look, tmp_path):
    pictures = []
    for options in (("--head", 0), ("--head", 1), ()):
        look(*options)
        pictures.append((tmp_path / "p/tokens.png").read_bytes())
    assert len(set(pictures)) == 3


def test_without_out_they_are_kept_in_the_run(ketformer, deep):
    done = ketformer("attention", deep, SMILES)
    assert done.code == 0
    assert len(done.out.splitlines()) == 4
    for line in done.out.splitlines():
        assert Path(line).parent == deep / "attention"
        assert Path(line).stat().st_size > 1000


def test_a_mechanism_of_one_block_is_drawn_as_well(look, molecules):
    assert np.array(look(run=molecules)["weights"]).shape == (8, 8)


@pytest.mark.parametrize(
    ("written", "options", "told"),
    [
        (SMILES, ("--layer", 2), "no layer 2"),
        (SMILES, ("--layer", -3), "no layer -3"),
        (SMILES, ("--head", 2), "no head 2: the heads are 0 to 1"),
        (SMILES, ("--head", -1), "no head -1"),
        (SMILES, ("--condition", "TPSA=1"), "has no condition TPSA; its conditions: LogP"),
        (SMILES, ("--condition", "LogP"), "NAME=NUMBER, got 'LogP'"),
        ("CCBr", (), "token 'Br' at position 2 of 'CCBr' is not in the vocabulary"),
        ("C!", (), "character '!' (U+0021) at position 1"),
        ("C C", (), "character ' '"),
        ("", (), "an empty SMILES"),
        ("C" * 16, (), "17 tokens do not fit into the model's context of 16"),
        ("CC(", (), "'CC(' is not a valid SMILES"),
        ("C1CC", (), "'C1CC' is not a valid SMILES"),
    ],
)
def test_mistakes_leave_nothing_behind(ketformer, deep, tmp_path, written, options, told):
    out = tmp_path / "pictures"
    done = ketformer("attention", deep, written, *options, "--out", out, "--json")
    done.assert_mistake(told)
    assert not out.exists()


def test_of_text_the_matrix_is_drawn(ketformer, honest, tmp_path):
    done = ketformer("attention", honest, "the cat", "--out", tmp_path / "p", "--json")
    assert done.json["tokens"] == list("the cat")
    weights = np.array(done.json["weights"])
    assert weights.shape == (7, 7)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"tokens.png", "tokens.svg"}


def test_a_leak_is_on_the_picture(ketformer, honest, leaky, tmp_path):
    red = {}
    for run in (honest, leaky):
        assert ketformer("attention", run, "the cat", "--out", tmp_path).code == 0
        picture = imread(tmp_path / "tokens.png")[..., :3]
        red[run] = ((picture[..., 0] - picture[..., 2]) > 0.1).sum()
    assert red[honest] == 0
    assert red[leaky] > 1000


@pytest.mark.parametrize(
    ("written", "options", "told"),
    [
        ("", (), "an empty text has no tokens"),
        ("the Cat", (), "character 'C' (U+0043) at position 4"),
        ("the cat sat", (), "11 tokens do not fit into the model's context of 8"),
        ("the cat", ("--layer", 1), "no layer 1"),
        ("the cat", ("--head", 2), "no head 2"),
        ("the cat", ("--condition", "LogP=1"), "it was trained without any"),
    ],
)
def test_mistakes_about_text(ketformer, honest, tmp_path, written, options, told):
    ketformer("attention", honest, written, *options, "--out", tmp_path / "p").assert_mistake(told)
    assert not (tmp_path / "p").exists()


def test_a_missing_run(ketformer, tmp_path):
    ketformer("attention", tmp_path / "none", SMILES).assert_mistake("no run directory")


def test_all_layers_and_heads_as_svg(deep, leaky):
    run = open_run(deep)
    tokens, weights = attention_weights(run, SMILES)
    assert tokens == TOKENS
    assert weights.shape == (2, 2, 8, 8)
    np.testing.assert_allclose(weights[1], weights_of(deep, 1), atol=1e-6)
    honest = ElementTree.fromstring(attention_svg(tokens, weights))
    assert "; 0% of the weight" in honest.get("aria-label")
    shown = "".join(honest.itertext())
    assert all(f"layer {i}, head {j}" in shown for i in (0, 1) for j in (0, 1))
    tokens, weights = attention_weights(open_run(leaky), "the cat")
    assert share_of_the_future(weights) > 0.3
    assert "; 0% of the weight" not in attention_svg(tokens, weights)
