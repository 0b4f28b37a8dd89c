"""A circuit's own angles: trained, or left at random."""

from __future__ import annotations

from torch import Tensor, nn


def add_angles(module: nn.Module, name: str, angles: Tensor, trained: bool) -> None:
    """Keep ``angles`` in ``module`` under ``name``, saved with it: a parameter, or a buffer.

    A parameter that is merely told not to ask for gradients would be trained after the model
    is loaded again, which makes its parameters anew.
    """
    if trained:
        module.register_parameter(name, nn.Parameter(angles))
    else:
        module.register_buffer(name, angles)
