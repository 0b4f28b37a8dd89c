"""Tokenizers decode to exactly the text that they encoded."""

import re

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.saved_tokenizer import load_tokenizer
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer, encode

# What tokenizers like to normalise away: line ends, tabs, runs of blanks, a combining accent and
# its composed form, joined emoji, a ligature, a soft hyphen, a byte order mark, astral letters.
AWKWARD = "a b\tc\r\nd\n\n  e\u0301\xe9 👩‍🚀 ﬁ \xad \ufeff 𝔘 .,!?' n't [CLS] <pad> \x00\x7f\u2028"
any_text = st.text(st.characters(exclude_categories=["Cs"]))
awkward_text = st.text(st.sampled_from(sorted(set(AWKWARD))))


# --- By character ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(any_text | awkward_text)
def test_characters_come_back_as_they_went_in(text):
    tokenizer = char_tokenizer(text)
    ids = encode(tokenizer, text)
    assert ids.dtype is torch.int64
    assert len(ids) == len(text)  # one token for each code point, none added
    assert len(tokenizer) == tokenizer.vocab_size == len(set(text))
    assert tokenizer.decode(ids) == text
    assert tokenizer.batch_decode(ids[None]) == [text]


@settings(max_examples=40, deadline=None)
@given(any_text, st.data())
def test_any_text_over_the_alphabet_can_be_encoded(alphabet, data):
    tokenizer = char_tokenizer(alphabet)
    letters = st.sampled_from(sorted(set(alphabet))) if alphabet else st.nothing()
    text = data.draw(st.text(letters))
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_characters_are_numbered_in_code_point_order():
    assert encode(char_tokenizer("banana\n"), "\nabn").tolist() == [0, 1, 2, 3]


def test_called_as_transformers_does_it_gives_the_same_ids():
    tokenizer = char_tokenizer(AWKWARD)
    called = tokenizer(AWKWARD)
    assert set(called) == {"input_ids", "attention_mask"}
    assert called["input_ids"] == encode(tokenizer, AWKWARD).tolist()


def test_a_long_text_is_encoded_in_pieces_without_a_seam():
    text = AWKWARD * 1500  # two pieces
    tokenizer = char_tokenizer(text)
    alphabet = sorted(set(text))
    assert encode(tokenizer, text).tolist() == [alphabet.index(c) for c in text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abcxa", "character 'x' (U+0078) at position 3 is not in the model's alphabet of 3"),
        ("é", "character 'é' (U+00E9) at position 0 is not"),
        ("ab\nc", r"character '\n' (U+000A) at position 2 is not"),
        ("ccccc🙂🙃", "character '🙂' (U+1F642) at position 5 is not"),
    ],
    ids=ascii,
)
def test_an_unknown_character_is_named_with_its_place(text, said):
    with pytest.raises(KetformerError, match=re.escape(said)) as caught:
        encode(char_tokenizer("abc"), text)
    assert "\n" not in str(caught.value)


def test_the_alphabet_of_tiny_shakespeare(tinyshakespeare):
    text = tinyshakespeare.read_text(encoding="utf-8")
    tokenizer = char_tokenizer(text)
    assert tokenizer.vocab_size == 65
    ids = encode(tokenizer, text)
    assert len(ids) == 1_115_394
    assert tokenizer.decode(ids[-1000:]) == text[-1000:]


# --- By byte pair ------------------------------------------------------------------------------

BPE = bpe_tokenizer("the cat sat on the mat; the other cat sat there\n" * 20, vocab_size=300)


@settings(max_examples=80, deadline=None)
@given(any_text | awkward_text)
def test_byte_pairs_give_back_any_text(text):
    """Trained on a few words of English, it can still write anything."""
    ids = encode(BPE, text)
    assert ids.dtype is torch.int64
    assert BPE.decode(ids) == text


def test_byte_pairs_shorten_what_they_were_trained_on():
    text = "the cat sat on the mat"
    assert len(encode(BPE, text)) < len(text) / 2


def test_the_vocabulary_of_byte_pairs_is_as_asked():
    text = "".join(chr(97 + i % 26) + chr(97 + i * i % 26) for i in range(5000))
    assert bpe_tokenizer(text, vocab_size=280).vocab_size == 280
    assert bpe_tokenizer("", vocab_size=256).vocab_size == 256  # the bytes alone


def test_what_is_not_unicode_is_an_error():
    """Python hands over bytes of a command line that are not UTF-8 as lone surrogates."""
    with pytest.raises(KetformerError, match="not valid Unicode"):
        encode(BPE, "caf\udce9")
    with pytest.raises(KetformerError, match=r"U\+DCE9\) at position 3"):
        encode(char_tokenizer("caf"), "caf\udce9")


def test_fewer_byte_pairs_than_bytes_is_an_error():
    with pytest.raises(KetformerError, match="vocab_size of at least 256"):
        bpe_tokenizer("text", vocab_size=255)


# --- Saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokenizer", [char_tokenizer(AWKWARD), BPE], ids=["characters", "byte pairs"]
)
@pytest.mark.parametrize(
    "load", [load_tokenizer, AutoTokenizer.from_pretrained], ids=["own", "auto"]
)
def test_a_saved_tokenizer_is_the_same_when_reloaded(tmp_path, tokenizer, load):
    tokenizer.save_pretrained(tmp_path)
    loaded = load(str(tmp_path))
    assert isinstance(loaded, PreTrainedTokenizerFast)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.all_special_tokens == []
    ids = encode(loaded, AWKWARD)
    assert torch.equal(ids, encode(tokenizer, AWKWARD))
    assert loaded.decode(ids) == AWKWARD


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(KetformerError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
