"""A text, its settings file, and two trained runs that the verbs look at: one honest, one leaky."""

import pytest

from ketformer.cli import main

from .helpers import call, small_text, write_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path_factory, monkeypatch):
    """Default outputs such as ``runs/…`` must not land in the checkout."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session", autouse=True)
def _short_timings_and_samples():
    """Inference is timed on 512 tokens, not on 16,384, and samples have 24, not 240."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ketformer.evaluation._TIMED_TOKENS", 512)
        patch.setattr("ketformer.generation._GLANCE", 24)
        yield


@pytest.fixture
def ketformer(capsys):
    """The command: ``ketformer("audit", run)`` returns its code, output and errors."""
    return lambda *args: call(capsys, *args)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """Path of a small text."""
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text(small_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(text):
    """Path of a settings file: classical attention, 20 steps."""
    return write_settings(text.with_name("tiny.yaml"), text)


@pytest.fixture(scope="session")
def honest(tiny, tmp_path_factory):
    """A finished run with classical attention."""
    out = tmp_path_factory.mktemp("runs") / "honest"
    assert main(["train", tiny, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def leaky(tiny, tmp_path_factory):
    """A finished run whose attention sees the future, trained until it has learned to use it."""
    out = tmp_path_factory.mktemp("runs") / "leaky"
    options = ["--attention", "qisa_published", "--max_steps", "300"]
    assert main(["train", tiny, "--out", str(out), *options]) == 0
    return out
