"""The model card of a run: its data, its training and its metrics."""

import hashlib

import pytest
from huggingface_hub import ModelCard

from commands import weights
from ketformer import __version__


def card_of(run):
    return ModelCard.load(run / "README.md")


@pytest.fixture
def run(ketformer, tiny, tmp_path):
    """A separate run, because the tests change its card."""
    assert ketformer("train", tiny, "--out", tmp_path / "mine", "--max_steps", 2).code == 0
    return tmp_path / "mine"


def test_a_finished_run_says_where_it_comes_from(run, text):
    card = card_of(run)
    assert card.data.model_name == "mine"
    assert f"| parameters | {sum(t.size for t in _arrays(run)):,} |" in card.text
    assert f"| SHA-256 | {hashlib.sha256(text.read_bytes()).hexdigest()} |" in card.text
    assert "| seed | 42 |" in card.text
    assert f"ketformer {__version__}" in card.text
    assert "learning_rate: 0.01" in card.text
    assert "Last validation loss" in card.text
    assert str(text.parent) not in card.content  # paths on this machine stay private


def _arrays(run):
    return [tensor.numpy() for tensor in weights(run).values()]


def test_an_evaluation_brings_the_metrics(ketformer, run):
    assert not card_of(run).data.eval_results
    result = ketformer("evaluate", run, "--json").json
    results = {r.metric_type: r.metric_value for r in card_of(run).data.eval_results}
    for key in ("cross_entropy", "prefix_cross_entropy", "cer", "wer"):
        assert results[key] == result[key]
    assert f"| cross entropy, nats per token | {result['cross_entropy']:.4g} |" in card_of(run).text


def test_an_evaluation_leaves_an_edited_card_alone(ketformer, run):
    file = run / "README.md"
    file.write_text("My model.\n")
    assert ketformer("evaluate", run).code == 0
    assert file.read_text() == "My model.\n"
    assert ketformer("train", "--out", run, "--resume").code == 0
    assert file.read_text() == "My model.\n"


def test_a_leak_is_the_first_thing_said(leaky, honest):
    assert card_of(leaky).text.strip().startswith("**This model is not causal.**")
    assert not card_of(honest).text.strip().startswith("**This model is not causal.**")


def test_molecules_are_tagged_as_such(conditional):
    card = card_of(conditional)
    assert {"chemistry", "smiles", "overlap", "arxiv:2502.19214"} <= set(card.data.tags)
    assert "| conditions | LogP, TPSA |" in card.text
