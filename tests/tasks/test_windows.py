"""Splits of a text, and the windows that a model is trained and judged on."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from ketformer.errors import KetformerError
from ketformer.tasks.base import WholeBatches
from ketformer.tasks.text import SPLITS, TextWindows, split_text

# --- Splits ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_the_standard_parts_make_up_the_text(text):
    parts = split_text(text, "standard")
    assert list(parts) == ["train", "validation", "test"]
    assert "".join(parts.values()) == text
    for name, share in {"train": 0.9, "validation": 0.05, "test": 0.05}.items():
        assert abs(len(parts[name]) - share * len(text)) <= 1


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_the_published_parts_are_the_first_64_and_the_last_4_percent(text):
    parts = split_text(text, "published")
    assert text.startswith(parts["train"])
    assert text.endswith(parts["test"])
    assert parts["validation"] == parts["test"]
    assert abs(len(parts["train"]) - 0.64 * len(text)) <= 2
    assert abs(len(parts["test"]) - 0.04 * len(text)) <= 2


def test_the_published_split_of_tiny_shakespeare(tinyshakespeare):
    text = tinyshakespeare.read_text(encoding="utf-8")
    parts = split_text(text, "published")
    assert (len(parts["train"]), len(parts["test"])) == (713_852, 44_616)


def test_an_unknown_split_is_an_error_that_lists_the_known():
    with pytest.raises(KetformerError, match=r"unknown split 'random'; known: standard, published"):
        split_text("text", "random")
    assert list(SPLITS) == ["standard", "published"]


# --- Windows -----------------------------------------------------------------------------------


@st.composite
def windows(draw):
    """Windows over the tokens 100, 101, …, so that a token tells its position."""
    context = draw(st.integers(1, 8))
    tokens = torch.arange(100, 100 + draw(st.integers(context + 1, 60)))
    return TextWindows(tokens, context, stride=draw(st.integers(1, 9)))


@settings(max_examples=60, deadline=None)
@given(windows())
def test_targets_are_the_tokens_one_further_on(windows):
    for item in windows:
        start = int(item["input_ids"][0])
        expected = torch.arange(start, start + windows.context)
        assert torch.equal(item["input_ids"], expected)
        assert torch.equal(item["shift_labels"], expected + 1)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_windows_start_a_stride_apart_and_as_many_as_fit(windows):
    starts = windows.all()["input_ids"][:, 0] - 100
    stride = int(starts[1]) if len(starts) > 1 else None
    if stride:
        assert (starts.diff() == stride).all()
        assert int(starts[-1]) + stride + windows.context >= len(windows.tokens)
    assert starts[0] == 0
    assert windows.all()["shift_labels"].max() <= windows.tokens[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 60))
def test_with_the_context_as_stride_each_target_counts_once(context, extra):
    tokens = torch.arange(context + extra)
    targets = TextWindows(tokens, context, stride=context).all()["shift_labels"].flatten()
    covered = (len(tokens) - 1) // context * context  # the rest is not a whole window
    assert torch.equal(targets, torch.arange(1, covered + 1))


def test_with_stride_one_every_window_is_there():
    windows = TextWindows(torch.arange(10), context=4, stride=1)
    assert len(windows) == 6
    assert windows[5]["shift_labels"].tolist() == [6, 7, 8, 9]  # the last token is a target


@pytest.mark.parametrize("limit", [1, 2, 7, 19])
def test_a_limit_takes_windows_from_the_whole_text(limit):
    windows = TextWindows(torch.arange(101), context=5, stride=5, limit=limit)
    starts = windows.all()["input_ids"][:, 0]
    assert len(windows) == len(set(starts.tolist())) == limit
    assert set(starts.tolist()) <= set(range(0, 100, 5))
    assert starts[0] == 0
    if limit > 1:
        assert starts[-1] == 95
        assert starts.diff().max() - starts.diff().min() <= 5


def test_a_limit_beyond_the_windows_changes_nothing():
    few, all_of_them = (TextWindows(torch.arange(21), 5, 5, limit=n) for n in (99, None))
    assert torch.equal(few.all()["input_ids"], all_of_them.all()["input_ids"])


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_text_shorter_than_a_window_and_its_target_is_an_error(length):
    with pytest.raises(
        KetformerError, match=f"has {length} tokens, but a context of 4 needs at least 5"
    ):
        TextWindows(torch.arange(length), context=4, stride=1)
    assert len(TextWindows(torch.arange(5), context=4, stride=1)) == 1


def test_the_batches_of_a_data_loader_are_the_items_side_by_side():
    windows = TextWindows(torch.randint(50, (40,)), context=6, stride=3)
    loader = DataLoader(WholeBatches(windows), batch_size=5, collate_fn=lambda batch: batch)
    batches = list(loader)
    assert [len(batch["input_ids"]) for batch in batches] == [5, 5, 2]
    for key in ("input_ids", "shift_labels"):
        rows = [row for batch in batches for row in batch[key]]
        assert len(rows) == len(windows)
        assert all(torch.equal(row, windows[i][key]) for i, row in enumerate(rows))


def test_a_shuffled_loader_meets_each_window_once():
    windows = TextWindows(torch.arange(41), context=5, stride=1)
    loader = DataLoader(
        WholeBatches(windows), batch_size=8, shuffle=True, collate_fn=lambda batch: batch
    )
    firsts = torch.cat([batch["input_ids"][:, 0] for batch in loader])
    assert sorted(firsts.tolist()) == list(range(36))
    assert firsts.tolist() != list(range(36))
