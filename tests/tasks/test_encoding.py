"""Long texts are encoded in pieces: the same ids, in bounded memory, with a bar."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer, encode
from ketformer.tasks.text.data import prepare_text
from ketformer.tasks.text.tokenizer import _lines

# Kinds of text whose words begin and end differently: contractions, runs of white space, scripts
# without spaces, characters of several bytes and code points, words without an end.
KINDS = (
    *("ab", "acgt", "a '", "'relv stdm", " \n\ta", "!?'s 1"),
    *("天地人，。", "👩‍🚀é\u0301a ", "\x1c\x85\u2028 a"),
)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
kind_of_text = st.sampled_from(KINDS).flatmap(lambda kind: st.text(kind, max_size=300))
runs = st.lists(
    st.builds(lambda c, n: c * n, st.sampled_from("".join(KINDS)), st.integers(1, 150)), max_size=4
).map("".join)
words = st.lists(
    st.sampled_from(["they", "'re", " I", "'ll", "'", "l", "r", "\n", " ", "天", "123", "'v", "e"]),
    max_size=60,
).map("".join)


def drawn(kind, seed):
    """300 characters at random: longer, and less regular, than Hypothesis likes its texts."""
    return "".join(random.Random(seed).choices(kind, k=300))


texts = (
    any_text
    | kind_of_text
    | runs
    | words
    | st.builds(drawn, st.sampled_from(KINDS), st.integers(0, 10**6))
)

BPES = [
    *(bpe_tokenizer(drawn(kind, 0) * 3, 256 + more) for kind in KINDS for more in (20, 120)),
    bpe_tokenizer("they're here, aren't they?  I'll  see I've\n\n天地玄黄，宇宙洪荒。\n" * 40, 330),
]


@settings(max_examples=600, deadline=None)
@given(texts, st.sampled_from(BPES), st.sampled_from([8, 13, 32, 100]), st.sampled_from([1, 8, 64]))
def test_byte_pairs_in_pieces_are_those_of_the_whole_text(text, tokenizer, size, margin):
    whole = tokenizer.backend_tokenizer.encode(text).ids
    with (
        patch("ketformer.tasks.text.encoding._PIECE", size),
        patch("ketformer.tasks.text.encoding._MARGIN", margin),
    ):
        assert encode(tokenizer, text).tolist() == whole


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from([1, 7, 100]), st.sampled_from([torch.int64, torch.int32]))
def test_characters_in_pieces_are_those_of_the_whole_text(text, size, dtype):
    tokenizer = char_tokenizer(text)
    with patch("ketformer.tasks.text.encoding._PIECE", size):
        ids = encode(tokenizer, text, dtype=dtype)
    assert ids.dtype is dtype
    assert ids.tolist() == tokenizer(text).input_ids


def test_a_word_longer_than_a_piece_is_encoded_as_one():
    text = "acgtacca" * 20_000
    tokenizer = bpe_tokenizer(text[:4000], 300)
    assert encode(tokenizer, text).tolist() == tokenizer.backend_tokenizer.encode(text).ids


def test_an_unknown_character_is_named_with_its_place_in_the_whole_text():
    tokenizer = char_tokenizer("ab")
    said = "character 'é' (U+00E9) at position 100000 is not in the model's alphabet of 2"
    with pytest.raises(KetformerError, match=re.escape(said)):
        encode(tokenizer, "ab" * 50_000 + "éab")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab \r\t\x0b\u2028天", max_size=19), max_size=30))
def test_a_bpe_is_trained_on_whole_lines(lines):
    text = "\n".join(lines)
    with patch("ketformer.tasks.text.tokenizer._PIECE", 20):
        assert sorted(_lines(text, None)) == sorted(text.splitlines(keepends=True))


@settings(max_examples=100, deadline=None)
@given(texts)
def test_a_bpe_is_trained_on_every_part_of_a_line_that_is_too_long(text):
    with patch("ketformer.tasks.text.tokenizer._PIECE", 20):
        parts = list(_lines(text, None))
    assert sorted("".join(parts)) == sorted(text)
    assert max(map(len, parts), default=0) <= 20


def test_a_bpe_is_trained_on_parts_from_everywhere_if_the_words_are_too_many():
    text = "".join(f"word{i}\n" for i in range(10_000))
    told = []
    with (
        patch("ketformer.tasks.text.tokenizer._PIECE", 200),
        patch("ketformer.tasks.text.tokenizer._WORD_BYTES", 1 << 13),
    ):
        numbers = [int(line[4:]) for line in _lines(text, lambda *step: told.append(step))]
    assert 1 << 13 <= sum(len(f"word{i}") for i in numbers) < (1 << 13) + 200
    assert min(numbers) < 1000
    assert max(numbers) > 9000
    assert told[-1] == (len(text), len(text))


@pytest.mark.parametrize("tokenizer", [char_tokenizer("天ab "), BPES[-1]], ids=["char", "bpe"])
def test_progress_is_told_in_characters(tokenizer):
    told = []
    encode(tokenizer, "天ab " * 50_000, step=lambda *step: told.append(step))
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == (200_000, 200_000)
    assert {total for _, total in told} == {200_000}


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_preparation_shows_a_bar(tokenizer, tmp_path, capsys, monkeypatch):
    file = tmp_path / "text.txt"
    file.write_text("the cat sat on the mat\n" * 100)
    prepare_text(str(file), tokenizer=tokenizer)
    assert capsys.readouterr().err == ""  # so little takes no time
    monkeypatch.setattr("ketformer.tasks.text.data.BAR_DELAY", 0)
    prepare_text(str(file), tokenizer=tokenizer)
    shown = capsys.readouterr().err
    assert "encoding train" in shown
    assert ("learning byte pairs" in shown) == (tokenizer == "bpe")
    prepare_text(str(file), tokenizer=tokenizer, progress=False)
    assert capsys.readouterr().err == ""


_MEASURED = """
import json, os, random, re, sys
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer, encode

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def measure(kind, alphabet):
    text = "".join(random.Random(0).choices(alphabet, k=1_000_000))
    made = char_tokenizer(text) if kind == "char" else bpe_tokenizer(text[:20_000], 300)
    encode(made, text[:200_000])
    before = peak()
    ids = encode(made, text)
    print((peak() - before) / len(text), flush=True)

for case in json.loads(sys.argv[1]):
    if not os.fork():  # from a process that has imported all this and done nothing yet
        measure(*case)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_encoding_takes_less_than_20_bytes_a_character():
    """Characters, byte pairs, and byte pairs of what is one long word."""
    cases = [("char", "abcd ef\n"), ("bpe", "天地人玄黄，。\n"), ("bpe", "acgt")]
    command = [sys.executable, "-c", _MEASURED, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = [float(line) for line in done.stdout.splitlines()]
    assert len(used) == len(cases)
    assert max(used) < 20, used
