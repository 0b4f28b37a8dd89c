"""A copy of a model that computes everything in float64.

There, the rounding of a sound model is 10^9 times smaller than in float32, while a leak keeps its
size. That tells a weak leak from the noise of arithmetic that mixes positions, as in a convolution
by FFT or in grouped matrix products.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

#: Of more parameters no copy is made: it would take 8 bytes for each.
LARGEST = 500_000_000

_WIDER: dict[torch.dtype, torch.dtype] = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS: frozenset[Callable[..., Any]] = frozenset({Tensor.float, Tensor.half, Tensor.bfloat16})


class _Float64(TorchFunctionMode):
    """Turns requests for a narrower type into requests for float64.

    Norms and softmax of many models ask for float32, whatever the type of their inputs.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function in _CASTS:
            return args[0].double()
        return function(*map(_wider, args), **{k: _wider(v) for k, v in (kwargs or {}).items()})


def _wider(value: Any) -> Any:
    return _WIDER.get(value, value) if isinstance(value, torch.dtype) else value


@contextmanager
def in_float64() -> Iterator[None]:
    """Within it, new tensors are float64, and nothing is cast to a narrower type."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(default)


def float64_copy(module: nn.Module) -> nn.Module:
    """A copy in float64, to be called within :func:`in_float64`.

    Raises:
        ValueError: it would be too large.
        Exception: whatever a model raises that cannot be copied or converted.
    """
    count = sum(parameter.numel() for parameter in module.parameters())
    if count > LARGEST:
        raise ValueError(f"{count:,} parameters are more than {LARGEST:,}")
    wide: Any = copy.deepcopy(module).double()
    if hasattr(wide, "set_experts_implementation"):  # grouped products know no float64
        wide.set_experts_implementation("eager")
    made: nn.Module = wide
    return made
