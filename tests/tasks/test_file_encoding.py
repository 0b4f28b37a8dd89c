"""From bytes to text: encodings with and without marks, and gzip."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ketformer.errors import KetformerError
from ketformer.tasks.datasets import load_text
from ketformer.tasks.file_encoding import decoded, decompressed

HERE = Path("a.txt")
MARKED = ["utf-8-sig", "utf-16", "utf-32"]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1)


def complaint(call, *arguments):
    with pytest.raises(KetformerError) as caught:
        call(HERE, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from(MARKED))
def test_a_byte_order_mark_says_the_encoding(text, encoding):
    assert decoded(HERE, text.encode(encoding))[0] == text


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030"]))
def test_what_the_user_says_counts(text, encoding):
    assert decoded(HERE, text.encode(encoding), encoding) == (text, encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_latin_text_in_utf16_without_a_mark_is_recognised(encoding):
    text = "smiles;größe\nCCO;1\n"
    assert decoded(HERE, text.encode(encoding)) == (text, encoding)


def test_another_encoding_is_taken_only_where_it_is_allowed_and_has_no_control_characters():
    raw = "Größe".encode("cp1252")
    assert decoded(HERE, raw, otherwise="cp1252") == ("Größe", "cp1252")
    assert complaint(decoded, raw) == (
        "a.txt: not UTF-8 text (byte 2); --encoding names another, such as cp1252 or gbk"
    )
    for broken in (raw + b"\x02", b"\xef\xbb\xbfC\xff", b"\xff\x81"):
        with pytest.raises(KetformerError, match="not UTF-8 text"):
            decoded(HERE, broken, otherwise="cp1252")


@pytest.mark.parametrize("encoding", ["nothing", "hex", "rot13", "utf-8\0"])
def test_an_unknown_encoding_is_an_error(encoding):
    assert "unknown encoding" in complaint(decoded, b"CCO", encoding)


def test_gzip_is_unpacked_whatever_the_name():
    raw = gzip.compress(b"one ") + gzip.compress(b"two")  # as bgzip writes it, in several parts
    assert decompressed(HERE, raw) == b"one two"
    assert decompressed(HERE, b"plain") == b"plain"
    for broken in (raw[:-9], raw[:12] + b"\xff" + raw[13:], b"\x1f\x8b"):
        assert complaint(decompressed, broken) == "a.txt: a broken gzip file"


def test_what_unpacks_to_more_than_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr("ketformer.utils.machine.machine_memory", lambda: 32 << 20)
    assert "unpacks to more than" in complaint(decompressed, gzip.compress(bytes(64 << 20)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_text_in_utf16_is_read_with_a_line(tmp_path, encoding):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Once upon a time".encode(encoding)))
    with pytest.warns(UserWarning, match="read as UTF-16"):
        assert load_text(str(tmp_path / "a.txt.gz")).text == "Once upon a time"
