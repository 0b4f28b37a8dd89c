"""Named data sets and files: found, checked, downloaded, and the errors when they are not."""

import errno
import hashlib
import io
import re
import urllib.error
import urllib.request
from dataclasses import replace
from email.message import Message
from http.client import IncompleteRead
from pathlib import Path

import pytest

from ketformer.errors import KetformerError
from ketformer.tasks import datasets
from ketformer.tasks.datasets import DATASETS, DataSet, find_here, load_text, locate
from ketformer.utils.files import cache_folder

CONTENT = b"To be, or not to be.\n"
TOY = DataSet(
    name="toy",
    description="one line",
    licence="none",
    filename="toy.txt",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    url="https://example.org/toy.txt",
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data folder, an empty cache, no network, and the toy set beside the real ones."""
    monkeypatch.delenv("KETFORMER_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(DATASETS, "toy", TOY)
    serve(monkeypatch, urllib.error.URLError("no network in this test"))


def serve(monkeypatch, answer):
    """Answer downloads with bytes or an exception; return the list of addresses requested."""
    asked = []

    def urlopen(request, timeout):
        asked.append(request.full_url)
        if isinstance(answer, BaseException):
            raise answer
        response = io.BytesIO(answer)
        response.url, response.status, response.headers = request.full_url, 200, Message()
        response.headers["Content-Length"] = str(len(answer))
        return response

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def cached():
    """Every file in the cache, hidden ones too; an empty lock may stay."""
    found = cache_folder().glob("*") if cache_folder().is_dir() else ()
    return sorted(path.name for path in found if path.suffix != ".lock" or path.stat().st_size)


def complaint_about(name):
    """The message for data that cannot be loaded, which must be one line."""
    with pytest.raises(KetformerError) as caught:
        load_text(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Embedded ----------------------------------------------------------------------------------


def test_the_embedded_text_needs_no_file_and_is_large_enough(monkeypatch):
    asked = serve(monkeypatch, b"")
    text = load_text("embedded")
    assert 300_000 < len(text.text) < 1_000_000
    assert text.sha256 == hashlib.sha256(text.text.encode()).hexdigest()
    assert load_text("embedded") == text
    assert asked == []
    assert cached() == []


def test_there_is_nothing_to_locate_for_the_embedded_text():
    with pytest.raises(KetformerError, match="made on the spot"):
        locate(DATASETS["embedded"])


# --- Looking in folders ------------------------------------------------------------------------


def test_the_users_folder_comes_before_the_cache(monkeypatch, tmp_path):
    asked = serve(monkeypatch, CONTENT)
    for folder in (tmp_path / "mine", cache_folder()):
        folder.mkdir(parents=True)
        (folder / "toy.txt").write_bytes(CONTENT)
    monkeypatch.setenv("KETFORMER_DATA", str(tmp_path / "mine"))
    assert locate(TOY) == tmp_path / "mine" / "toy.txt"
    monkeypatch.delenv("KETFORMER_DATA")
    assert locate(TOY) == cache_folder() / "toy.txt"
    assert load_text("toy") == datasets.Text("toy", CONTENT.decode(), TOY.sha256)
    assert asked == []


@pytest.mark.parametrize("where", ["mine", "cache"])
def test_a_file_with_another_hash_is_an_error_and_is_left_alone(monkeypatch, tmp_path, where):
    monkeypatch.setenv("KETFORMER_DATA", str(tmp_path / "mine"))
    path = (tmp_path / "mine" if where == "mine" else cache_folder()) / "toy.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT + b"and more")
    message = complaint_about("toy")
    assert str(path) in message
    assert f"not {TOY.sha256[:12]}" in message
    assert path.read_bytes() == CONTENT + b"and more"


def test_tiny_shakespeare_is_found_in_the_users_folder(monkeypatch, tinyshakespeare):
    monkeypatch.setenv("KETFORMER_DATA", str(tinyshakespeare.parent))
    text = load_text("tinyshakespeare")
    assert len(text.text) == 1_115_394
    assert text.sha256 == DATASETS["tinyshakespeare"].sha256


def test_looking_for_a_set_downloads_nothing(monkeypatch):
    asked = serve(monkeypatch, CONTENT)
    assert find_here(TOY) is None
    assert asked == []
    assert locate(TOY) == find_here(TOY)


# --- Downloading -------------------------------------------------------------------------------


def test_a_set_is_downloaded_once_into_the_cache(monkeypatch):
    asked = serve(monkeypatch, CONTENT)
    assert load_text("toy").text == CONTENT.decode()
    assert load_text("toy").text == CONTENT.decode()
    assert asked == [TOY.url]
    assert cached() == ["toy.txt"]


@pytest.mark.parametrize(
    "answer",
    [
        urllib.error.URLError("name not known"),
        TimeoutError("timed out"),
        ConnectionResetError("reset by peer"),
        IncompleteRead(b"To be"),
        urllib.error.HTTPError(TOY.url, 404, "not found", Message(), None),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing_behind(monkeypatch, answer):
    serve(monkeypatch, answer)
    message = complaint_about("toy")
    assert "cannot download toy" in message
    assert "set KETFORMER_DATA" in message
    assert cached() == []


@pytest.mark.parametrize("answer", [b"", CONTENT[:-1], b"<html>sign in</html>"], ids=repr)
def test_a_download_with_another_hash_leaves_nothing_behind(monkeypatch, answer):
    serve(monkeypatch, answer)
    message = complaint_about("toy")
    assert "SHA-256" in message
    assert TOY.url in message
    assert cached() == []


def test_an_interrupted_download_leaves_nothing_behind(monkeypatch):
    serve(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_text("toy")
    assert cached() == []


def test_a_cache_that_cannot_be_made_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert str(tmp_path / "file") in complaint_about("toy")


# --- Downloading one column of a table ---------------------------------------------------------

FOUND = b'id,smiles,gap\r\n1,CCO,0.5\r\n2,"[O-][N+](=O)C",0.25\r\n'
KEPT = b"smiles\nCCO\n[O-][N+](=O)C\n"
COLUMN = DataSet(
    name="column",
    description="two molecules",
    licence="none",
    filename="column.csv",
    sha256=hashlib.sha256(KEPT).hexdigest(),
    url="https://example.org/wide.csv",
    column="smiles",
    url_sha256=hashlib.sha256(FOUND).hexdigest(),
)


def test_of_a_table_one_column_is_kept_once(monkeypatch):
    asked = serve(monkeypatch, FOUND)
    path = locate(COLUMN)
    assert path.read_bytes() == KEPT
    assert locate(COLUMN) == path
    assert asked == [COLUMN.url]
    assert cached() == ["column.csv"]


@pytest.mark.parametrize(
    ("answer", "changes"),
    [
        (FOUND + b"3,CCC,1\n", {}),  # another table
        (KEPT, {}),  # the column alone is not the table
        (FOUND, {"column": "id"}),  # the right table, another column
        (FOUND, {"sha256": "0" * 64}),
    ],
    ids=["longer", "narrow", "other-column", "other-hash"],
)
def test_both_the_table_and_the_column_are_checked(monkeypatch, answer, changes):
    serve(monkeypatch, answer)
    with pytest.raises(KetformerError, match="is not column: its SHA-256 is"):
        locate(replace(COLUMN, **changes))
    assert cached() == []


def test_a_column_that_has_changed_on_disk_is_an_error(monkeypatch):
    serve(monkeypatch, FOUND)
    path = locate(COLUMN)
    path.write_bytes(KEPT + b"CCC\n")
    with pytest.raises(KetformerError, match=r"column\.csv is not column"):
        locate(COLUMN)


# --- Files -------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("Zeile eins\r\nZeile zwei\rdrei\n é e\u0301 🙂".encode())
    text = load_text(str(path))
    assert text.text == "Zeile eins\r\nZeile zwei\rdrei\n é e\u0301 🙂"
    assert text.name == str(path)
    assert text.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_byte_order_mark_at_the_start_is_no_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert load_text(str(path)).text == "abc"


def test_neither_a_name_nor_a_file_is_an_error_that_lists_the_names(tmp_path):
    message = complaint_about(tmp_path / "nothing.txt")
    assert "nothing.txt" in message
    assert "embedded, tinyshakespeare" in message
    for other in (tmp_path, "", "x" * 5000, "a\0b"):  # a folder, and what is no file name at all
        assert "no data set or file" in complaint_about(other)


def test_a_set_of_molecules_is_no_text():
    assert complaint_about("moses") == "moses holds molecules, not text"


def test_bytes_that_are_not_utf8_are_an_error_that_says_where(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("café".encode("latin-1"))
    message = complaint_about(path)
    assert re.search(r"latin\.txt: not UTF-8 text \(byte 3\); --encoding names another", message)
    assert load_text(str(path), "latin-1").text == "café"


@pytest.mark.parametrize("content", [b"one\0", b"o\0\0n"], ids=repr)
def test_a_file_with_nul_is_no_text(tmp_path, content):
    path = tmp_path / "binary.txt"
    path.write_bytes(content)
    assert re.search(r"binary\.txt: character [13] is NUL", complaint_about(path))


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"], ids=repr)
def test_a_file_without_text_is_an_error(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    assert "the file has no text" in complaint_about(path)


def test_a_file_that_may_not_be_read_is_an_error(monkeypatch, tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("secret")

    def refuse(self):  # as the system does, unless the tests run as root
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert complaint_about(path) == f"{path}: cannot be read (Permission denied)"


def test_every_stored_set_says_where_it_comes_from():
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert dataset.licence
        if dataset.filename:
            assert re.fullmatch(r"[0-9a-f]{64}", dataset.sha256)
            assert dataset.size > 1_000_000 or dataset is TOY
            assert dataset.url.startswith("https://") != bool(dataset.package)
            assert bool(dataset.column) == bool(dataset.url_sha256)
