"""Shared by the tests of molecules."""

import pytest


@pytest.fixture
def file(tmp_path):
    """``file(name, content)``: write a file and return its path as text."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A cache of the test's own, in which nothing was read before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
