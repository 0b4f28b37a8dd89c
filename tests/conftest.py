"""What every test shares: one thread, no network, and where the optional data lies."""

import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import pytest
import torch

# Small tensors are fastest on one thread, above all when pytest-xdist shares the cores.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]


# Which variable names the folder that a file in ../shared/<folder> may lie in instead.
_FOLDERS = {"data": "KETFORMER_DATA", "published": "KETFORMER_PUBLISHED"}


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; without one the tests fail, for nothing else looks at the pages.

    Its loop ends with the module, or the next one in this process would find it running.
    """
    from playwright.sync_api import sync_playwright

    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    if not any(found):
        pytest.fail("pages are tested in Chromium, which is not here: apt-get install chromium")
    path = next(filter(None, found))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_file():
    """``shared_file("data", "qm9.csv")``: its path. Without it, the few tests in need skip."""

    def find(folder, filename):
        variable = _FOLDERS[folder]
        places = [os.environ.get(variable), REPOSITORY.parent / "shared" / folder]
        for place in filter(None, places):
            if (path := Path(place) / filename).is_file():
                return path
        pytest.skip(f"{filename} is neither in {variable} nor in ../shared/{folder}")

    return find


@pytest.fixture(scope="session")
def tinyshakespeare(shared_file):
    """Path of Tiny Shakespeare."""
    return shared_file("data", "tinyshakespeare.txt")
