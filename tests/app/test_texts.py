"""What the page shows of a text model."""

import re
from itertools import pairwise

import numpy as np
import pytest

from drawing.test_heatmap import cells
from ketformer.app.opened_runs import names_of
from ketformer.app.texts import end_of, facts_of, text_attention, verdict_on, write
from ketformer.errors import KetformerError
from ketformer.evaluation import attention_weights
from ketformer.generation import Sampling, generate_text

from .conftest import TEXT, trained


def test_what_is_streamed_is_what_generate_writes(opened, writer, monkeypatch):
    monkeypatch.setattr("ketformer.app.texts._PAUSE", 0)
    run, sampling = opened(writer).run, Sampling(max_new_tokens=40, temperature=0.7, seed=3)
    texts = list(write(run, "the ", sampling))
    assert texts[0] == "the "
    assert texts[-1] == generate_text(run, "the ", sampling=sampling)[0]
    assert [len(text) for text in texts[:-1]] == list(range(4, 45))
    assert all(after.startswith(before) for before, after in pairwise(texts))


@pytest.mark.parametrize(
    ("prompt", "told"), [("", "the prompt is empty"), ("the é", "'é' (U+00E9) at position 4")]
)
def test_a_prompt_that_cannot_be_read_is_told(opened, writer, prompt, told):
    with pytest.raises(KetformerError, match=re.escape(told)):
        list(write(opened(writer).run, prompt, Sampling()))


def test_attention_is_drawn_over_the_end_of_the_text(opened, writer):
    run = opened(writer).run
    text = TEXT[:50]
    assert end_of(run, text) == text[-16:]  # the model's context
    assert end_of(run, text, most=5) == text[-5:]
    assert end_of(run, "a cat") == "a cat"
    _, weights = attention_weights(run, text[-16:])
    for head, expected in ((None, weights[1].mean(0)), (0, weights[1, 0])):
        found = cells(text_attention(run, text[-16:], 1, head))
        shown = np.array([found[3, j] for j in range(4)])
        np.testing.assert_allclose(shown, expected[3, :4], atol=6e-5)
    with pytest.raises(KetformerError, match="no text yet"):
        text_attention(run, "", 1, None)


def test_the_end_of_byte_pairs_is_no_longer_than_the_context(folder, data, opened):
    path = trained(
        folder, "pairs", "classical", steps=2, data=data, tokenizer="bpe", vocab_size=260
    )
    run = opened(path).run
    text = "the cat € sat on € a mat €"
    for most in range(1, 17):
        end = end_of(run, text, most)
        assert text.endswith(end)
        assert len(run.tokenizer.encode(end)) <= most


def test_the_audit_is_said(opened, writer, leaky):
    assert verdict_on(opened(writer)).startswith(
        "Causal: qsann passed the audit. Each of 16 tokens"
    )
    said = verdict_on(opened(leaky))
    assert said.startswith("Leaky: qisa_published sees the tokens it should predict")
    assert f"{opened(leaky).audit.max_future_influence:.2g}" in said


def test_the_model_is_described(opened, writer):
    subject = opened(writer)
    assert facts_of(subject) == (
        "writer: qsann attention, 2 layers of 2 heads, "
        f"{subject.run.model.num_parameters():,} parameters, trained on text.txt"
    )


def test_runs_of_one_name_are_told_apart(opened, writer, leaky, tmp_path):
    (tmp_path / "writer").symlink_to(leaky)
    subjects = [opened(writer), opened(leaky)]
    assert names_of(subjects) == ["writer", "leaky"]
    assert names_of([subjects[0], subjects[0]]) == [str(writer)] * 2
