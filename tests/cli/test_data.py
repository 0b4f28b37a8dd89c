"""``ketformer data``: where it looks for a data set, and that it checks the hash."""

import hashlib

import pytest

from ketformer.tasks.datasets import DATASETS, DataSet

CONTENT = b"To be, or not to be.\n"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A data set ``mine`` that is at a URL and not yet on this machine."""
    source = tmp_path / "source.txt"
    source.write_bytes(CONTENT)
    monkeypatch.setattr("ketformer.tasks.downloads._SCHEME", "file:")
    monkeypatch.delenv("KETFORMER_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dataset = DataSet(
        name="mine",
        description="a line of Shakespeare",
        licence="public domain",
        filename="mine.txt",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        url=source.as_uri(),
    )
    monkeypatch.setitem(DATASETS, "mine", dataset)
    return source


@pytest.fixture
def folder(nowhere, tmp_path, monkeypatch):
    """The folder that KETFORMER_DATA names, with ``mine`` in it."""
    path = tmp_path / "given"
    path.mkdir()
    (path / "mine.txt").write_bytes(CONTENT)
    monkeypatch.setenv("KETFORMER_DATA", str(path))
    return path


def test_the_folder_that_ketformer_data_names_comes_first(ketformer, folder):
    done = ketformer("data", "get", "mine", "--json")
    assert done.json == {"name": "mine", "path": str(folder / "mine.txt")}
    assert ketformer("data", "get", "mine").out == f"{folder / 'mine.txt'}\n"


def test_what_is_nowhere_is_downloaded_into_the_cache_once(ketformer, nowhere, tmp_path):
    done = ketformer("data", "get", "mine", "--json")
    cached = tmp_path / "cache/ketformer/mine.txt"
    assert done.json == {"name": "mine", "path": str(cached)}
    assert cached.read_bytes() == CONTENT
    nowhere.unlink()
    assert ketformer("data", "get", "mine").code == 0


def test_a_file_that_changed_is_refused(ketformer, folder):
    (folder / "mine.txt").write_bytes(CONTENT + b"!")
    ketformer("data", "get", "mine").assert_mistake("SHA-256", "mine.txt")


def test_a_download_that_arrives_changed_is_not_kept(ketformer, nowhere, tmp_path):
    nowhere.write_bytes(b"something else")
    assert ketformer("data", "get", "mine").code == 2
    assert [path.name for path in (tmp_path / "cache/ketformer").iterdir()] == [".mine.txt.lock"]


def test_a_download_that_fails_says_what_to_do(ketformer, nowhere):
    nowhere.unlink()
    ketformer("data", "get", "mine").assert_mistake("cannot download mine", "KETFORMER_DATA")


def test_list_shows_licence_hash_and_place(ketformer, folder):
    rows = {row["name"]: row for row in ketformer("data", "list", "--json").json["rows"]}
    assert rows["mine"]["path"] == str(folder / "mine.txt")
    assert rows["mine"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert rows["embedded"]["licence"] == "PSF-2.0"
    assert rows["tinyshakespeare"]["sha256"].startswith("86c4e6aa")
    shown = ketformer("data", "list").out
    assert "public domain" in shown
    assert str(folder / "mine.txt") in shown


def test_list_downloads_nothing(ketformer, nowhere, tmp_path):
    rows = {row["name"]: row for row in ketformer("data", "list", "--json").json["rows"]}
    assert rows["mine"]["path"] is None
    assert not (tmp_path / "cache").exists()


def test_the_stored_tinyshakespeare_is_the_known_one(ketformer, tinyshakespeare, monkeypatch):
    monkeypatch.setenv("KETFORMER_DATA", str(tinyshakespeare.parent))
    assert ketformer("data", "get", "tinyshakespeare").out == f"{tinyshakespeare}\n"


def test_mistakes(ketformer):
    ketformer("data").assert_mistake("action")
    ketformer("data", "put").assert_mistake("unknown action 'put'")
    ketformer("data", "get").assert_mistake("no data set")
    ketformer("data", "get", "nope").assert_mistake("'nope'", "tinyshakespeare")
    ketformer("data", "get", "embedded").assert_mistake("nothing to download")
