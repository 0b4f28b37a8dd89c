"""The fixture ``assert_causal`` in somebody else's tests, as an installed package offers it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ketformer

ROOT = Path(ketformer.__file__).parents[2]

THEIRS = """
import sys

import pytest


def test_before_it_is_used_nothing_is_imported(assert_causal):
    assert not {"torch", "transformers", "ketformer"} & set(sys.modules)


def decoder(ahead):
    import torch

    return lambda ids: torch.stack([ids, ids.roll(-ahead, dims=1)], dim=-1).float()


def test_a_sound_model(assert_causal):
    audit = assert_causal(decoder(0), 7, length=8)
    assert audit.check("cache").passed is None


def test_a_leak(assert_causal):
    assert_causal(decoder(1), vocab_size=7, length=8)


def test_a_mistake(assert_causal):
    with pytest.raises(ValueError, match="give vocab_size"):
        assert_causal(decoder(0))
"""


@pytest.fixture
def installed(tmp_path):
    """A folder for ``PYTHONPATH`` with the metadata that pip would write."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tmp_path / f"ketformer-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: ketformer\nVersion: {project['version']}\n")
    points = project["entry-points"]["pytest11"].items()
    lines = "".join(f"{name} = {target}\n" for name, target in points)
    (folder / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    return tmp_path


def test_the_fixture_in_a_test_suite_of_others(installed):
    (installed / "test_theirs.py").write_text(THEIRS)
    path = os.pathsep.join([str(installed), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "test_theirs.py"],
        cwd=installed, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "FAILED test_theirs.py::test_a_leak" in done.stdout
    assert "<lambda> leaks" in done.stdout
    assert "Positions 0-6 of 0-7 see a later token, 1 ahead." in done.stdout
    assert "raise AssertionError" not in done.stdout  # their line is shown, not ours
