"""Every SMILES survives encoding and decoding, and anything else is refused."""

import re

import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.tokenizer import (
    QM9_VOCABULARY,
    decode_smiles,
    encode_smiles,
    smiles_tokenizer,
    split_smiles,
    vocabulary_of,
)

SPECIAL = ["[CLS]", "[EOS]", "<pad>"]
# Some are also sequences of shorter tokens, and one is nearly a special token.
RARE = "B Br Cl P S F I b s p * . / \\ $ : ~ @ + -> <- 0 6 %10 %(100) [C@@H] [13CH3-:2] [CLS+] [é]"
TOKENS = sorted({*QM9_VOCABULARY, *RARE.split(), "[ EOS]"} - {*SPECIAL})
TOKENIZER = smiles_tokenizer(TOKENS)
QM9 = smiles_tokenizer(QM9_VOCABULARY)
some_tokens = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=20)
some_smiles = st.lists(some_tokens.map("".join), min_size=1, max_size=6)


def complaint(function, *arguments):
    """The message, which must be one line."""
    with pytest.raises(KetformerError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Splitting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CCO", "C C O"),
        ("ClCBr", "Cl C Br"),
        ("c1cc[nH]c1", "c 1 c c [nH] c 1"),
        ("C[C@@H](N)C(=O)[O-]", "C [C@@H] ( N ) C ( = O ) [O-]"),
        ("F/C=C\\F", "F / C = C \\ F"),
        ("C%12CC%12", "C %12 C C %12"),
        ("C%(100)C12", "C %(100) C 1 2"),
        ("[Na+].[Cl-]", "[Na+] . [Cl-]"),
        ("C#N->[Fe]", "C # N -> [Fe]"),
        ("[Fe]<-N", "[Fe] <- N"),
        ("C$C:C~*", "C $ C : C ~ *"),
        ("Sc1ccccc1", "S c 1 c c c c c 1"),
        ("BI", "B I"),
    ],
)
def test_a_smiles_is_split_into_atoms_bonds_and_marks(smiles, tokens):
    assert split_smiles(smiles) == tokens.split()


@settings(max_examples=100, deadline=None)
@given(some_tokens.map("".join))
def test_what_is_split_adds_up_to_the_smiles(smiles):
    tokens = split_smiles(smiles)
    assert "".join(tokens) == smiles
    assert all(split_smiles(token) == [token] for token in tokens)
    assert not set(tokens) & set(SPECIAL)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("CNlBr[]()=1%<>padEOSL !é\n")))
def test_a_text_is_split_whole_or_refused_at_the_first_wrong_place(text):
    """The position named is the end of the longest prefix that is SMILES."""
    try:
        tokens = split_smiles(text)
    except KetformerError as error:
        if text:
            place = int(re.search(r"position (\d+)", str(error))[1])
            assert not place or split_smiles(text[:place])
            complaint(split_smiles, text[: place + 1])
    else:
        assert "".join(tokens) == text
        assert not set(tokens) & set(SPECIAL)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("CxC", "character 'x' (U+0078) at position 1 of 'CxC' is not SMILES"),
        ("CC O", "character ' ' (U+0020) at position 2 of"),
        ("CC\n", r"character '\n' (U+000A) at position 2 of 'CC\n'"),
        ("C١", "character '١' (U+0661) at position 1"),  # a digit, but not one of ten
        ("C[NH", "character '[' (U+005B) at position 1"),
        ("C[]", "character '[' (U+005B) at position 1"),
        ("[[C]]", "character '[' (U+005B) at position 0"),
        ("C]", "character ']' (U+005D) at position 1"),
        ("C%1", "character '%' (U+0025) at position 1"),
        ("CC>>C", "character '>' (U+003E) at position 2"),
        ("CNa", "character 'a' (U+0061) at position 2"),
        ("C🙂", "character '🙂' (U+1F642) at position 1"),
        ("CC[EOS]", "special token [EOS] at position 2 of 'CC[EOS]' is not SMILES"),
        ("[CLS]CC", "special token [CLS] at position 0"),
        ("C<pad>", "special token <pad> at position 1"),
        ("", "an empty SMILES has no tokens"),
    ],
    ids=ascii,
)
def test_what_is_not_smiles_is_named_with_its_place(smiles, said):
    assert said in complaint(split_smiles, smiles)
    assert said in complaint(vocabulary_of, ["C", smiles])
    assert said in complaint(encode_smiles, TOKENIZER, ["C", smiles])


# --- The vocabulary ----------------------------------------------------------------------------


def test_a_vocabulary_is_every_token_once():
    assert vocabulary_of(["CCO", "C[NH3+]", "ClC"]) == {"C", "O", "[NH3+]", "Cl"}
    assert vocabulary_of([]) == set()


def test_tokens_are_numbered_in_text_order():
    vocabulary = smiles_tokenizer(["n", "C", "[nH]", "#", "C"]).get_vocab()
    in_order = ["#", "<pad>", "C", "[CLS]", "[EOS]", "[nH]", "n"]
    assert vocabulary == {token: i for i, token in enumerate(in_order)}


def test_the_vocabulary_of_qm9_keeps_its_order():
    assert len(QM9) == QM9.vocab_size == 33
    assert tuple(QM9.convert_ids_to_tokens(range(33))) == QM9_VOCABULARY
    assert (QM9.pad_token_id, QM9.bos_token_id, QM9.eos_token_id) == (9, 17, 18)


@pytest.mark.parametrize("token", ["CC", "x", "", "[", "%1", " ", "C\n"])
def test_what_can_never_be_split_off_is_no_token(token):
    assert repr(token) in complaint(smiles_tokenizer, ["C", token])


# --- Encoding ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(some_smiles, st.integers(0, 5))
def test_smiles_come_back_as_they_went_in(smiles, room):
    longest = max(len(split_smiles(text)) for text in smiles) + 2
    ids = encode_smiles(TOKENIZER, smiles, longest + room)
    assert ids.dtype is torch.int64
    assert ids.shape == (len(smiles), longest + room)
    assert torch.equal(encode_smiles(TOKENIZER, smiles), ids[:, :longest])
    assert decode_smiles(TOKENIZER, ids) == smiles
    assert decode_smiles(TOKENIZER, ids[:, 1:]) == smiles  # as a model continues [CLS]


@settings(max_examples=60, deadline=None)
@given(some_smiles)
def test_called_as_transformers_does_it_gives_prompts_that_have_not_ended(smiles):
    called = TOKENIZER(smiles, padding=True, return_tensors="pt")
    assert set(called) == {"input_ids", "attention_mask"}
    ids = encode_smiles(TOKENIZER, smiles)
    ends = ids == TOKENIZER.eos_token_id
    assert ends.sum(1).eq(1).all()
    ids = ids.masked_fill(ends, TOKENIZER.pad_token_id)[:, :-1]
    assert torch.equal(called["input_ids"], ids)
    assert torch.equal(called["attention_mask"], (ids != TOKENIZER.pad_token_id).long())
    assert TOKENIZER.batch_decode(ids, skip_special_tokens=True) == smiles


def test_a_row_is_start_tokens_end_and_padding():
    tokens = [QM9.convert_ids_to_tokens(row) for row in encode_smiles(QM9, ["C", "C=O"], 6)]
    assert tokens == [
        ["[CLS]", "C", "[EOS]", "<pad>", "<pad>", "<pad>"],
        ["[CLS]", "C", "=", "O", "[EOS]", "<pad>"],
    ]


def test_no_smiles_make_no_rows():
    assert encode_smiles(QM9, [], 7).shape == (0, 7)
    assert decode_smiles(QM9, encode_smiles(QM9, [])) == []


def test_a_token_outside_the_vocabulary_is_named_with_its_place():
    message = complaint(encode_smiles, QM9, ["CCO", "C[NH3+]CClBr"])
    assert message == ("token 'Cl' at position 8 of 'C[NH3+]CClBr' is not in the vocabulary of 33")


def test_a_smiles_that_is_too_long_is_named_with_both_lengths():
    assert encode_smiles(QM9, ["CCCC"], 6).shape == (1, 6)
    message = complaint(encode_smiles, QM9, ["C", "CCCC", "CC"], 5)
    assert message == "'CCCC' has 6 tokens with [CLS] and [EOS], but the length is 5"


# --- Decoding ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "smiles"),
    [
        ("[CLS] C O [EOS] <pad>", "CO"),
        ("C O [EOS] N [EOS]", "CO"),
        ("[CLS] C O N C", "CONC"),  # it never ended
        ("[CLS] [EOS] C C", ""),
        ("[EOS] [CLS] C", ""),
        ("[CLS] [CLS] C [EOS]", "[CLS]C"),
        ("C [CLS] O [EOS]", "C[CLS]O"),
        ("[CLS] C <pad> O [EOS]", "C<pad>O"),
        ("<pad> [EOS]", "<pad>"),
    ],
)
def test_a_row_ends_at_its_end_and_shows_other_special_tokens(tokens, smiles):
    ids = torch.tensor([QM9.convert_tokens_to_ids(tokens.split())])
    assert decode_smiles(QM9, ids) == [smiles]


# --- Saving ------------------------------------------------------------------------------------


def test_a_saved_tokenizer_is_the_same_when_reloaded(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    assert isinstance(loaded, PreTrainedTokenizerFast)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("[CLS]", "[EOS]", "<pad>")
    assert loaded.padding_side == "right"
    assert loaded.model_input_names == ["input_ids", "attention_mask"]
    smiles = ["ClCBr", "c1cc[nH]c1", "[C@@H]%(100)N"]
    ids = encode_smiles(TOKENIZER, smiles)
    assert torch.equal(encode_smiles(loaded, smiles), ids)
    assert loaded(smiles)["input_ids"] == TOKENIZER(smiles)["input_ids"]
    assert decode_smiles(loaded, ids) == smiles
