"""What several tests of molecules begin with."""

import pytest


@pytest.fixture
def file(tmp_path):
    """Write a file and give back its path as text."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write
