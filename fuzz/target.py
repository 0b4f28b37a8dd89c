"""Fuzz one reader: `target.py NAME CORPUS [libFuzzer options]`; `run.py` starts it."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["yaml"]):
    import yaml  # noqa: F401

# Imported first: under atheris's import hook these would take minutes longer.
import jsonargparse  # noqa: F401
import rdkit.Chem  # noqa: F401
import torch._weights_only_unpickler as unpickler
import transformers.modeling_layers
import transformers.trainer  # noqa: F401

unpickler.Unpickler.load = atheris.instrument_func(unpickler.Unpickler.load)
with atheris.instrument_imports(include=["ketformer", "readers"]):
    import readers

# CPU time allowed for one case. Wall-clock time says little on a busy machine.
SECONDS = 20

name, corpus = sys.argv[1:3]
for seed in readers.seeds(name):
    (Path(corpus) / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    readers.check(name, seed)  # triggers what is imported on first use
readers.forbid()


def one(data: bytes) -> None:
    """Run one case; an exception is a finding, and so is too much CPU time."""
    begun = time.process_time()
    readers.check(name, data)
    seconds = time.process_time() - begun
    assert seconds < SECONDS, f"{seconds:.0f} s for {len(data)} bytes"


atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
atheris.Fuzz()
