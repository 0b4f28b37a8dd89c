"""The reference files of published mechanisms: inputs, parameters and outputs of original code."""

import json
import os
from pathlib import Path

import pytest
import torch

_FOLDER = Path(__file__).resolve().parents[2].parent / "shared/zoo"


def reference_cases(mechanism):
    """The cases of a file by name, each with its ``config`` and three groups of tensors."""
    path = Path(os.environ.get("KETFORMER_ZOO", _FOLDER)) / f"{mechanism}.json"
    if not path.is_file():
        pytest.skip("no reference files: set KETFORMER_ZOO")
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return {case["name"]: {**case, **{group: _tensors(case[group]) for group in _GROUPS}}
            for case in cases}  # fmt: skip


_GROUPS = ("inputs", "parameters", "outputs")


def _tensors(arrays):
    return {name: _tensor(array) for name, array in arrays.items()}


def _tensor(array):
    real, imag = (
        torch.tensor(array[part], dtype=torch.float64) if part in array else None
        for part in ("real", "imag")
    )
    return real if imag is None else torch.complex(real, imag)
