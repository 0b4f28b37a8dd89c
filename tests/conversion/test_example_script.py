"""examples/convert.py runs as a user runs it, and what it prints is true."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from ketformer.errors import KetformerError

SCRIPT = str(Path(__file__).resolve().parents[2] / "examples/convert.py")


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *options])
    runpy.run_path(SCRIPT, run_name="__main__")


def test_every_model_is_converted_audited_and_reloaded(monkeypatch, capsys):
    run(monkeypatch, "--attention", "qisa")
    printed = capsys.readouterr().out
    classes = re.findall(r"^(\S+): Ketformer(\w+), [\d,]+ parameters$", printed, re.MULTILINE)
    assert classes == [
        ("OpenAI-GPT", "OpenAIGPTLMHeadModel"),
        ("GPT-2", "GPT2LMHeadModel"),
        ("Llama", "LlamaForCausalLM"),
    ]
    found = re.findall(r"future influence (\S+), wrote \[(.*)\]$", printed, re.MULTILINE)
    assert [float(influence) for influence, _ in found] == [0.0, 0.0, 0.0]
    assert all(0 <= int(token) < 50 for _, ids in found for token in ids.split(", "))


def test_an_unknown_mechanism_is_named(monkeypatch):
    with pytest.raises(KetformerError, match="nonsense"):
        run(monkeypatch, "--attention", "nonsense")
