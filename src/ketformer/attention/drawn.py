"""Buffers that are drawn at random when a model is made, and are part of what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Drawn(nn.Module):
    """A module whose drawn buffers keep their values through the meta device and ``to_empty``.

    Parameters may lose theirs there, since an initialisation brings them back. Nothing brings
    back what was drawn, and arbitrary memory in its place need not even be valid.
    """

    #: Drawn values by name, on the CPU; the class has none.
    _last_values: Mapping[str, Tensor] = {}

    def register_drawn(self, name: str, values: Tensor) -> None:
        """Register a buffer on the default device; ``values`` are on the CPU even for meta."""
        self.register_buffer(name, values.to(torch.get_default_device()))
        self._last_values = {**self._last_values, name: values}

    def drawn(self, name: str) -> Tensor:
        """The values of a drawn buffer on the CPU, also while the buffer is on the meta device."""
        values = self.get_buffer(name)
        return self._last_values[name] if values.is_meta else values.detach().cpu()

    def _apply(self, *args: Any, **kwargs: Any) -> Drawn:
        self._last_values = {name: self.drawn(name) for name in self._last_values}
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, values in self._last_values.items():
                if not (moved := self.get_buffer(name)).is_meta:
                    moved.copy_(values)
        return self
