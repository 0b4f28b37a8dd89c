"""Shared by the model tests: float types."""

import pytest
import torch


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def float_type(request):
    """The default float type during the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)
