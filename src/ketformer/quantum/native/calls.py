"""Calling the kernels with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum.native import library

_KINDS = {torch.float32: "f32", torch.float64: "f64"}
#: Tokens that are worth a thread of their own.
_GRAIN = 256


def operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function an operation of torch, ``torch.ops.ketformer.…``, opaque to compilers.

    Unlike ``torch.library.custom_op`` it leaves the gradient alone: the operation is called from
    an ``autograd.Function``, which torch.func can differentiate.
    """
    name = f"ketformer::{function.__name__}"
    torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
    torch.library.impl(name, "cpu", function)
    return function


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd would follow what is computed from these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def contiguous(*tensors: Any) -> tuple[Any, ...]:
    """All of them, None where there is None."""
    return tuple(None if tensor is None else tensor.contiguous() for tensor in tensors)


def kernel(name: str, like: Tensor) -> Callable[..., int]:
    """The function of that name for the type of ``like``, which must be float32 or float64."""
    found = library()
    assert found is not None  # whoever calls has asked
    kernel: Any = getattr(found, f"{name}_{_KINDS[like.dtype]}")

    def call(*arguments: Any) -> int:
        *others, begin, end = arguments
        return int(kernel(*others, ctypes.c_long(begin), ctypes.c_long(end)))

    return call


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a contiguous tensor lies; NULL for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def thread_count(count: int) -> int:
    """On how many threads :func:`in_parts` works."""
    return max(1, min(torch.get_num_threads(), count // _GRAIN))


def in_parts(part: Callable[[int, int, int], int], count: int) -> None:
    """``part(begin, end, thread)`` for all tokens, on as many threads as torch uses."""
    threads = thread_count(count)
    edges = [count * i // threads for i in range(threads + 1)]
    if threads == 1:
        failed = part(0, count, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            failed = any(pool.map(part, edges[:-1], edges[1:], range(threads)))
    if failed:
        raise MemoryError("no memory for the tiles of states")
