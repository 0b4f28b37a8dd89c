"""``ketformer app``: messages before the page is served."""

import socket
import sys

import pytest

from commands import free_port
from ketformer.cli import main


@pytest.fixture
def ketformer(capsys):
    """The command: its exit code, output and error lines."""

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return call


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main(["app", "--help"])
    assert end.value.code == 0
    assert "ketformer app runs/mine runs/molecules --port 8000" in capsys.readouterr().out


def test_a_broken_run_is_one_line(ketformer, writer, tmp_path):
    (tmp_path / "broken").mkdir()
    code, out, (line,) = ketformer("app", writer, tmp_path / "broken", "--port", free_port())
    assert (code, out) == (2, "")
    assert line.startswith("ketformer: error: ")
    assert "no model.safetensors" in line


def test_a_taken_port_is_one_line(ketformer, writer):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, (line,) = ketformer("app", writer, "--port", port)
    assert (code, out) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in line
    assert "choose another --port" in line


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_one_line(ketformer, writer, port):
    code, _, (line,) = ketformer("app", writer, "--port", port)
    assert code == 2
    assert f"port must be from 1 to 65535, got {port}" in line


def test_a_host_that_is_none_is_one_line(ketformer, writer):
    code, _, (line,) = ketformer("app", writer, "--host", "192.0.2.1", "--port", free_port())
    assert code == 2
    assert "cannot listen on 192.0.2.1" in line


def test_without_gradio_the_remedy_is_named(ketformer, writer, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, (line,) = ketformer("app", writer)
    assert code == 2
    assert line == "ketformer: error: the app needs Gradio: pip install 'ketformer[app]'"
