"""The angles of a circuit, either trained or left at random values."""

from __future__ import annotations

from torch import Tensor, nn


def add_angles(module: nn.Module, name: str, angles: Tensor, trained: bool) -> None:
    """Register ``angles`` in ``module`` under ``name``, as a parameter if trained, else a buffer.

    A parameter with ``requires_grad=False`` would not do: loading a model creates its
    parameters anew, and they would then be trained.
    """
    if trained:
        module.register_parameter(name, nn.Parameter(angles))
    else:
        module.register_buffer(name, angles)
