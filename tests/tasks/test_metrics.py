"""Metrics against jiwer, against loops by hand, and on a model that sees the future."""

import itertools
import math
import statistics
import time

import jiwer
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from ketformer.attention.classical import ClassicalAttention
from ketformer.attention.measured import measured_by
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.quantum.backends import open_backend
from ketformer.quantum.gradients import outcomes_of
from ketformer.tasks.losses import prefix_losses, teacher_forced
from ketformer.tasks.text import (
    TextWindows,
    bpe_tokenizer,
    char_tokenizer,
    count_characters,
    encode,
    error_rates,
)
from ketformer.utils.timing import inference_seconds
from mechanisms import MECHANISMS

VOCABULARY, CONTEXT = 11, 6


def small_model(attention="classical", **changes):
    torch.manual_seed(0)
    config = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.5,
        "attention": attention,
        **changes,
    }
    return KetformerForCausalLM(KetformerConfig(**config)).eval()


def some_windows(number=7):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCABULARY, (number * CONTEXT + 1,), generator=generator)
    return TextWindows(tokens, CONTEXT, stride=CONTEXT)


# --- Cross entropy -----------------------------------------------------------------------------


@pytest.mark.parametrize("attention", MECHANISMS)
@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_teacher_forced_is_one_window_at_a_time(attention, batch_size):
    model, windows = small_model(attention), some_windows()
    result = teacher_forced(model, windows, batch_size=batch_size)
    for row in range(len(windows)):
        ids, targets = windows[row]["input_ids"], windows[row]["shift_labels"]
        logits = model(ids[None]).logits[0]
        for position in range(CONTEXT):
            expected = -logits[position].log_softmax(-1)[targets[position]]
            assert float(result.losses[row, position]) == pytest.approx(expected.item(), abs=1e-5)
        assert torch.equal(result.predictions[row], logits.argmax(-1))
        assert torch.equal(result.targets[row], targets)
    assert result.losses.shape == (len(windows), CONTEXT)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_the_prefix_loss_is_each_prefix_alone(attention):
    model, windows = small_model(attention), some_windows(3)
    losses = prefix_losses(model, windows, batch_size=2)
    assert losses.shape == (3, CONTEXT)
    for row in range(3):
        ids, targets = windows[row]["input_ids"], windows[row]["shift_labels"]
        for position in range(CONTEXT):
            logits = model(ids[None, : position + 1]).logits[0, -1]
            expected = F.cross_entropy(logits, targets[position])
            assert float(losses[row, position]) == pytest.approx(expected.item(), abs=1e-5)


def from_scratch(model, windows):
    """Each target's loss, from a pass over its prefix and nothing else."""
    rows = windows.all()
    return torch.stack(
        [
            F.cross_entropy(
                model(rows["input_ids"][:, : n + 1], use_cache=False).logits[:, -1],
                rows["shift_labels"][:, n],
                reduction="none",
            )
            for n in range(CONTEXT)
        ],
        dim=1,
    ).detach()


def test_a_cache_of_few_rows_at_a_time_gives_the_same(monkeypatch):
    model, windows = small_model(), some_windows(7)
    monkeypatch.setattr("ketformer.tasks.losses._CACHED", 1)
    assert prefix_losses(model, windows).float() == pytest.approx(
        from_scratch(model, windows), abs=1e-5
    )


def test_a_model_that_is_less_causal_than_it_says_gets_no_cache(monkeypatch):
    project = ClassicalAttention.project

    def with_the_next(self, hidden_states, tokens=None):
        queries, keys, values = project(self, hidden_states, tokens)
        return queries, keys, values + values.roll(-1, dims=-2)

    monkeypatch.setattr(ClassicalAttention, "project", with_the_next)
    model, windows = small_model("classical", initializer_range=None), some_windows(5)
    assert model.can_cache
    found = prefix_losses(model, windows, batch_size=2)
    assert found.float() == pytest.approx(from_scratch(model, windows), abs=1e-5)
    assert (found - teacher_forced(model, windows).losses).abs().mean() > 0.01


def test_a_model_on_circuits_gets_no_cache():
    model, windows = small_model("overlap"), some_windows(1)
    expected = prefix_losses(model, windows)
    with measured_by(model, outcomes_of(open_backend("torch"))):
        assert not model.can_cache
        measured = prefix_losses(model, windows)
    assert measured.float() == pytest.approx(expected.float(), abs=1e-4)


@pytest.mark.parametrize("attention", MECHANISMS)
def test_the_two_losses_agree_for_a_causal_model_and_for_no_other(attention):
    model, windows = small_model(attention), some_windows()
    forced = teacher_forced(model, windows).losses
    difference = (prefix_losses(model, windows) - forced).abs()
    if model.is_causal:
        assert difference.max() < 1e-5
    else:
        assert difference[:, :-1].mean() > 0.1
        assert difference[:, -1].max() < 1e-5  # the last position has no future to see


def test_a_leak_lowers_the_forced_loss_and_not_the_prefix_loss():
    """After a few training steps, the leaky model copies what it should predict."""
    torch.manual_seed(0)
    windows = TextWindows(torch.randint(VOCABULARY, (401,)), CONTEXT, stride=4)  # pure noise
    changes = {"embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0, "initializer_range": None}
    model = small_model("qisa_published", num_hidden_layers=1, **changes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(100):
        optimizer.zero_grad()
        model(**windows.all()).loss.backward()
        optimizer.step()
    noise = math.log(VOCABULARY)  # 2.40: nothing can predict noise better
    unseen = TextWindows(torch.randint(VOCABULARY, (601,)), CONTEXT, stride=CONTEXT)
    assert teacher_forced(model, unseen).losses[:, :-1].mean() < noise / 2
    assert prefix_losses(model, unseen).mean() > noise


def test_progress_is_told_after_each_batch():
    seen = []
    teacher_forced(small_model(), some_windows(7), batch_size=3, step=lambda *at: seen.append(at))
    assert seen == [(3, 7), (6, 7), (7, 7)]


# --- Error rates -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "hypothesis", "cer", "wer"),
    [
        ("abcd", "abcd", 0, 0),
        ("abcd", "abxd", 1 / 4, 1),
        ("abcd", "", 1, 1),
        ("ab", "abcdef", 2, 1),  # insertions alone can exceed the reference
        ("the cat sat", "the cat sat", 0, 0),
        ("the cat sat", "the bat sat", 1 / 11, 1 / 3),
        ("the cat sat", "thecat sat", 1 / 11, 2 / 3),
        (" a", "a ", 1, 0),  # blanks are characters, not words: one deleted, one inserted
        ("a\nb", "a b", 1 / 3, 0),
        ("  ab", "xxab", 1 / 2, 1),
    ],
    ids=repr,
)
def test_error_rates_by_hand(reference, hypothesis, cer, wer):
    assert error_rates([reference], [hypothesis]) == (pytest.approx(cer), pytest.approx(wer))


def test_error_rates_add_up_edits_before_they_divide():
    references, hypotheses = ["a b c d e f g h", "x y"], ["a b c d e f g h", "p q"]
    cer, wer = error_rates(references, hypotheses)
    assert cer == pytest.approx(2 / 18)
    assert wer == pytest.approx(2 / 10)


def test_error_rates_are_those_of_jiwer():
    references = ["to be or not to be", "that is the question"]
    hypotheses = ["to bee or not be", "this is a question mark"]
    cer, wer = error_rates(references, hypotheses)
    assert cer == jiwer.cer(references, hypotheses)  # none begins or ends with a blank
    assert wer == jiwer.wer(references, hypotheses)


def test_a_text_without_words_counts_towards_the_character_rate_alone():
    assert error_rates(["ab", "  "], ["ab", " x"]) == (pytest.approx(1 / 4), 0)


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"."):
        error_rates(["a", "b"], ["a"])


# --- Time --------------------------------------------------------------------------------------


class Sleeper(torch.nn.Module):
    """A stand-in for a model that records its calls."""

    device = torch.device("cpu")

    def __init__(self, name, seconds, calls):
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls

    def forward(self, input_ids, use_cache):
        assert use_cache is False
        self.calls.append(self.name)
        time.sleep(self.seconds)


def test_inference_times_are_taken_in_turns():
    calls = []
    models = {name: Sleeper(name, s, calls) for name, s in {"short": 0.001, "long": 0.02}.items()}
    inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.long)}
    seconds = inference_seconds(models, dict.fromkeys(models, inputs), repeats=4)
    assert calls == ["short", "long"] * 7  # three of them not timed
    assert list(seconds) == ["short", "long"]
    assert 0.001 <= seconds["short"] < seconds["long"]
    assert seconds["long"] >= 0.02


def test_the_median_ignores_one_slow_pass(monkeypatch):
    now = [0]
    durations = iter([50, 50, 50, 1, 79, 1])  # three are not timed

    def model(input_ids, use_cache):
        now[0] += next(durations)

    model.device = torch.device("cpu")
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    inputs = {"model": {"input_ids": torch.zeros(1, 1, dtype=torch.long)}}
    assert inference_seconds({"model": model}, inputs, repeats=3) == {"model": 1}


@pytest.mark.parametrize(("durations", "passes"), [([1.0], 5), ([1.0, 1.1], 20)])
def test_times_that_agree_are_taken_fewer_times(monkeypatch, durations, passes):
    now, calls = [0.0], []
    takes = itertools.cycle(durations)

    def model(input_ids, use_cache):
        calls.append(1)
        now[0] += next(takes)

    model.device = torch.device("cpu")
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("ketformer.utils.timing._PASSES", 20)
    inputs = {"model": {"input_ids": torch.zeros(1, 1, dtype=torch.long)}}
    seconds = inference_seconds({"model": model}, inputs)
    assert seconds["model"] == pytest.approx(statistics.median(durations))
    assert len(calls) == 3 + passes


def test_a_real_model_takes_some_time():
    ids = some_windows().all()["input_ids"]
    inputs = {"model": {"input_ids": ids}}
    assert inference_seconds({"model": small_model()}, inputs, repeats=2)["model"] > 0


# --- Characters in tokens ----------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])) | st.text("天地玄黄，é👩‍🚀a\n"),
    st.sampled_from([256, 300, 600]),
    st.integers(1, 9),
)
def test_the_characters_of_windows_add_up_to_those_of_the_text(text, vocab_size, context):
    """Whatever the alphabet, and wherever a window's edge cuts a character."""
    for tokenizer in (bpe_tokenizer(text, vocab_size), char_tokenizer(text)):
        windows = encode(tokenizer, text).split(context)
        assert sum(count_characters(tokenizer, window) for window in windows) == len(text)


def test_a_cut_character_counts_where_it_begins():
    tokenizer = bpe_tokenizer("", 256)
    ids = encode(tokenizer, "a天é")  # 1, 3 and 2 bytes
    assert count_characters(tokenizer, ids[:2]) == 2
    assert count_characters(tokenizer, ids[2:]) == 1
    assert count_characters(tokenizer, ids.view(2, 3)) == 3  # of any shape
    assert count_characters(tokenizer, ids[:0]) == 0
