"""Calls of the kernels with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ketformer.quantum.native import library

_KINDS = {torch.float32: "f32", torch.float64: "f64"}
#: Tokens per thread, at least.
_GRAIN = 256


def operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function as a torch operation, ``torch.ops.ketformer.…``, opaque to compilers.

    Unlike ``torch.library.custom_op`` it does not handle gradients: the operation is called from
    an ``autograd.Function``, which torch.func can differentiate.
    """
    name = f"ketformer::{function.__name__}"
    torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
    torch.library.impl(name, "cpu", function)
    return function


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd would record a computation with these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def contiguous(*tensors: Any) -> tuple[Any, ...]:
    """The tensors made contiguous; None stays None."""
    return tuple(None if tensor is None else tensor.contiguous() for tensor in tensors)


def kernel(name: str, like: Tensor) -> Callable[..., int]:
    """The kernel of that name for the type of ``like``, which must be float32 or float64."""
    found = library()
    assert found is not None  # checked by the caller
    kernel: Any = getattr(found, f"{name}_{_KINDS[like.dtype]}")

    def call(*arguments: Any) -> int:
        *others, begin, end = arguments
        return int(kernel(*others, ctypes.c_long(begin), ctypes.c_long(end)))

    return call


def address(tensor: Tensor | None) -> ctypes.c_void_p:
    """Address of a contiguous tensor's data; NULL for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def thread_count(count: int) -> int:
    """Number of threads that :func:`in_parts` uses."""
    return max(1, min(torch.get_num_threads(), count // _GRAIN))


def in_parts(part: Callable[[int, int, int], int], count: int) -> None:
    """Call ``part(begin, end, thread)`` over all tokens, on as many threads as torch uses."""
    threads = thread_count(count)
    edges = [count * i // threads for i in range(threads + 1)]
    if threads == 1:
        failed = part(0, count, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            failed = any(pool.map(part, edges[:-1], edges[1:], range(threads)))
    if failed:
        raise MemoryError("not enough memory for the tiles of states")
