"""Calls of the kernels with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
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


def thread_count(count: int, grain: int = _GRAIN) -> int:
    """Number of threads that :func:`in_parts` uses."""
    return max(1, min(torch.get_num_threads(), count // grain))


def in_parts(part: Callable[[int, int, int], int], count: int, grain: int = _GRAIN) -> None:
    """Call ``part(begin, end, thread)`` over all tokens, on as many threads as torch uses.

    Each thread gets at least ``grain`` of them.
    """
    threads = thread_count(count, grain)
    if threads == 1:
        failed = part(0, count, 0)
    else:
        edges = [count * i // threads for i in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            failed = any(pool.map(part, edges[:-1], edges[1:], range(threads)))
    if failed:
        raise MemoryError("not enough memory for a kernel")


def run_kernel(
    name: str,
    shape: ctypes.Structure,
    arrays: Sequence[Tensor | None],
    count: int,
    grain: int = _GRAIN,
) -> None:
    """Call a kernel over all tokens.

    Args:
        name: see :func:`kernel`; the type is that of the first array.
        shape: the kernel's structure of sizes.
        arrays: contiguous, in the kernel's order; it writes to the last ones.
        count: number of tokens.
        grain: of these per thread, at least.
    """
    addresses = _addresses(arrays)
    call = kernel(name, _first(arrays))
    in_parts(lambda begin, end, _: call(ctypes.byref(shape), *addresses, begin, end), count, grain)


def run_backward(
    name: str,
    shape: ctypes.Structure,
    arrays: Sequence[Tensor | None],
    cos: Tensor,
    count: int,
    grain: int = _GRAIN,
) -> tuple[Tensor, Tensor]:
    """As :func:`run_kernel`, for one that also adds up gradients by angles that tokens share.

    Args:
        name: as there, like the next two.
        shape: its structure.
        arrays: without the sums, which come last.
        cos: of half the angles; it sets the shape of the sums.
        count: number of tokens.
        grain: of these per thread, at least.

    Returns:
        Gradients by the cosines and sines of half the angles.
    """
    # One per thread; in float64, since they are sums over many tokens.
    sums = cos.new_zeros(thread_count(count, grain), 2, *cos.shape, dtype=torch.float64)
    addresses = _addresses(arrays)
    call = kernel(name, _first(arrays))

    def part(begin: int, end: int, thread: int) -> int:
        own = _addresses((*sums[thread],))
        return call(ctypes.byref(shape), *addresses, *own, begin, end)

    in_parts(part, count, grain)
    by_cos, by_sin = sums.sum(0).to(cos.dtype)
    return by_cos.clone(), by_sin.clone()


def _addresses(arrays: Sequence[Tensor | None]) -> list[ctypes.c_void_p]:
    return [address(array) for array in arrays]


def _first(arrays: Sequence[Tensor | None]) -> Tensor:
    (first, *_) = arrays
    assert first is not None  # no kernel's first array is optional
    return first
