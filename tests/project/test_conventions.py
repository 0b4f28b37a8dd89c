"""What other tools expect of a project: a citation, and types a user's program can rely on."""

import tomllib
from pathlib import Path

import torch
import yaml

import ketformer
import typed_program

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_whole():
    """The work and each reference have the keys that Citation File Format 1.2.0 requires."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert work["type"] in {"software", "article"}
        assert all(author["name"] for author in work["authors"])
    assert citation["message"]
    project = PROJECT["project"]
    assert citation["version"] == project["version"] == ketformer.__version__
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert citation["keywords"] == project["keywords"]
    papers = {reference["url"] for reference in citation["references"]}
    assert papers == {f"https://arxiv.org/abs/{number}" for number in ("2603.03318", "2502.19214")}


def test_a_typed_program_is_checked_and_runs():
    """mypy checks its types, along with the source."""
    assert "tests/typed_program.py" in PROJECT["tool"]["mypy"]["files"]
    assert (Path(ketformer.__file__).parent / "py.typed").is_file()
    assert typed_program.largest_influence("qisa") == 0
    assert typed_program.mixed(torch.randn(2, 5, 64)).shape == (2, 5, 64)
