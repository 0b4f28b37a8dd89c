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
