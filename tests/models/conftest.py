"""What the model tests share: types of numbers."""

import pytest
import torch


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def float_type(request):
    """The type of everything that the test makes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)
