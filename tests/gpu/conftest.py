"""Every test here runs on a GPU, and fails without one: `make test-gpu` asks for them."""

import pytest
import torch


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(__file__.removesuffix("conftest.py")):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The GPU, whose products keep all bits."""
    if not torch.cuda.is_available():
        pytest.fail("these tests need a GPU that torch can use")
    torch.set_float32_matmul_precision("highest")
    return torch.device("cuda")
