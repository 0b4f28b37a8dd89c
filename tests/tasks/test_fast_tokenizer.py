"""Tokenizers as transformers' users call them: unknown tokens, padding, truncation."""

import re

import pytest
from hypothesis import given, settings, strategies as st
from transformers import AutoTokenizer

from ketformer.errors import KetformerError, UnreadableError
from ketformer.tasks.fast_tokenizer import KetformerTokenizer
from ketformer.tasks.molecules.tokenizer import QM9_VOCABULARY, smiles_tokenizer
from ketformer.tasks.text import bpe_tokenizer, char_tokenizer

CHARACTERS = char_tokenizer("abc\n")
SMILES = smiles_tokenizer(QM9_VOCABULARY)
BYTES = bpe_tokenizer("", vocab_size=256)
ALL = {"characters": CHARACTERS, "SMILES": SMILES, "bytes": BYTES}


@pytest.fixture(params=["made", "saved"])
def tokenizers(request, tmp_path_factory):
    """Each tokenizer as it was made, or as AutoTokenizer loads it."""
    if request.param == "made":
        return ALL
    folder = tmp_path_factory.mktemp("saved")
    for name, tokenizer in ALL.items():
        tokenizer.save_pretrained(folder / name)
    return {name: AutoTokenizer.from_pretrained(folder / name) for name in ALL}


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (
            "characters",
            "abxc",
            "character 'x' (U+0078) at position 2 is not in the vocabulary of 4",
        ),
        ("characters", "é", "character 'é' (U+00E9) at position 0 is not"),
        ("characters", "a\udce9", "the text is not valid Unicode"),
        ("characters", ["abc", "ab🙂"], "character '🙂' (U+1F642) at position 2 is not"),
        ("SMILES", "CC[Xe]C", "token '[Xe]' at position 2 is not in the vocabulary of 33"),
        ("SMILES", "C[CLS]C!", "character '!' (U+0021) at position 7 is not"),
        ("SMILES", [("C", "CO"), ("C", "CZ")], "character 'Z' (U+005A) at position 1 is not"),
        ("bytes", "caf\udce9", "the text is not valid Unicode"),
    ],
    ids=ascii,
)
def test_what_is_unknown_is_named_with_its_place(tokenizers, kind, text, told):
    with pytest.raises(UnreadableError, match=re.escape(told)) as caught:
        tokenizers[kind](text)
    assert "\n" not in str(caught.value)


def test_the_second_text_of_a_pair_is_checked_too():
    with pytest.raises(UnreadableError, match="character 'x'"):
        CHARACTERS("abc", text_pair="abx")
    with pytest.raises(UnreadableError, match="character 'x'"):
        CHARACTERS("abc", "abx")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_every_text_is_encoded_or_named_at_its_first_unknown_character(text):
    strange = [i for i, character in enumerate(text) if character not in "abc\n"]
    if not strange:
        assert CHARACTERS.decode(CHARACTERS(text)["input_ids"]) == text
        return
    with pytest.raises(UnreadableError) as caught:
        CHARACTERS(text)
    if "not valid Unicode" not in str(caught.value):
        assert f"{text[strange[0]]!r}" in str(caught.value)
        assert f"at position {strange[0]} is" in str(caught.value)


def test_a_tokenizer_without_padding_says_how_to_get_it(tokenizers):
    tokenizer = tokenizers["characters"]
    with pytest.raises(KetformerError, match=r"add_special_tokens\(.*resize_token_embeddings"):
        tokenizer(["a", "ab"], padding=True)
    with pytest.raises(KetformerError, match="no padding token"):
        tokenizer.pad([tokenizer("a"), tokenizer("ab")])


def test_other_mistakes_are_told_as_transformers_tells_them(tokenizers):
    with pytest.raises(ValueError, match="bogus is not a valid PaddingStrategy"):
        tokenizers["characters"]("a", padding="bogus")
    with pytest.raises(ValueError, match="text input must be of type"):
        tokenizers["characters"](3)


def test_a_padding_token_added_later_pads(tmp_path):
    tokenizer = char_tokenizer("abc")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is KetformerTokenizer
    padded = loaded(["a", "abc"], padding=True)
    assert padded["input_ids"] == [[0, 3, 3], [0, 1, 2]]
    assert padded["attention_mask"] == [[1, 0, 0], [1, 1, 1]]
    assert loaded.batch_decode(padded["input_ids"], skip_special_tokens=True) == ["a", "abc"]
    with pytest.raises(UnreadableError, match=r"'x'.* at position 6 is"):
        loaded("a<pad>x")


def test_a_prompt_of_a_molecule_starts_and_does_not_end():
    tokens = SMILES.convert_ids_to_tokens(SMILES("C=O")["input_ids"])
    assert tokens == ["[CLS]", "C", "=", "O"]


@pytest.mark.parametrize("kind", ALL)
def test_texts_are_truncated_to_the_length_that_is_saved(tmp_path, kind):
    ALL[kind].save_pretrained(tmp_path / "without")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "without")
    tokenizer.model_max_length = 5
    tokenizer.save_pretrained(tmp_path / "with")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "with")
    text = {"SMILES": "CCCCCCCC"}.get(kind, "abcabcabc")
    assert loaded(text, truncation=True)["input_ids"] == loaded(text)["input_ids"][:5]


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_the_end_of_a_text_that_it_does_not_have_is_named(kind):
    tokenizer = ALL[kind]
    with pytest.raises(KetformerError, match=r"no token that ends a text.*eos_token = '\\n'"):
        tokenizer.decode(tokenizer.eos_token_id)


def test_a_character_can_be_the_end_of_a_text(tmp_path):
    """As `docs/how-to/other-tools.md` says; ids and their number stay as they are."""
    tokenizer = char_tokenizer("abc\n")
    tokenizer.eos_token = "\n"
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.eos_token, len(loaded)) == ("\n", 4)
    assert loaded("ab\nc")["input_ids"] == CHARACTERS("ab\nc")["input_ids"]
