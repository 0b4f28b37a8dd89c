"""What every test shares: one thread, no network, and where the optional data lies."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import pytest
import torch

# Small tensors are fastest on one thread, above all when pytest-xdist shares the cores.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def tinyshakespeare():
    """Path of Tiny Shakespeare; the few tests that need it are skipped where it is not."""
    folders = [os.environ.get("KETFORMER_DATA"), REPOSITORY.parent / "shared" / "data"]
    for folder in filter(None, folders):
        path = Path(folder) / "tinyshakespeare.txt"
        if path.is_file():
            return path
    pytest.skip("tinyshakespeare.txt is neither in KETFORMER_DATA nor in ../shared/data")
