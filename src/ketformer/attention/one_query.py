"""One query of each sequence, as with a cache, in C on the CPU: one call in place of a dozen.

It gives the same numbers as the paths in torch, without gradients, from keys and values that lie in
memory with gaps, as those of a cache with room do.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ketformer.quantum import native
from ketformer.quantum.native.calls import address, in_parts, kernel, wants_gradient

#: In the order of the kernel's enum.
_KINDS = {"dot": 0, "gaussian": 1, "square": 2, "absolute": 3, "double_exponential": 4}
#: Products per thread, at least.
_GRAIN = 2**20


class _Shape(ctypes.Structure):
    """The kernel's ``struct query_shape``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "heads", "keys", "width", "mixed", "query_b", "query_h", "key_b", "key_h", "key_t",
            "value_b", "value_h", "value_t", "seen", "kind", "rows",
        )),
        ("scale", ctypes.c_double),
    )  # fmt: skip


def can_mix(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether there is one query of each sequence, and the kernel takes tensors such as these."""
    return (
        queries.shape[-2] == 1 < keys.shape[-2]
        and queries.device.type == "cpu"
        and queries.dtype in (torch.float32, torch.float64)
        and queries.dtype == keys.dtype == values.dtype
        and queries.stride(-1) == keys.stride(-1) == values.stride(-1) == 1
        and not torch.compiler.is_compiling()
        and not wants_gradient(queries, keys, values)
        and native.library() is not None
    )


def mix_one_query(
    score: str, scale: float, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None,
    parts: tuple[int, ...] = (),
) -> Tensor:  # fmt: skip
    """Mix the values by a softmax of the scores.

    Args:
        score: name of the score.
        scale: what multiplies it.
        queries: ``[B, H, 1, Dk]``.
        keys: ``[B, H, Tk, Dk]``, or two parts side by side, of whose products there are Dk.
        values: ``[B, H, Tk, Dv]``.
        mask: bool, broadcastable to ``[B, 1, 1, Tk]``; None if every key is seen.
        parts: widths of the two parts; () for keys as they are. Then a score must be a function of
            the product alone.

    Returns:
        ``[B, H, 1, Dv]``; 0 for a query that sees no key.
    """
    (batch, heads, count, mixed), width = values.shape, queries.shape[-1]
    if mask is not None:
        mask = mask.expand(-1, 1, 1, count).contiguous()
    shape = _Shape(
        heads, count, width, mixed,
        *queries.stride()[:2], *keys.stride()[:3], *values.stride()[:3],
        0 if mask is None or len(mask) == 1 else count, _KINDS[score], parts[0] if parts else 1,
        scale,
    )  # fmt: skip
    out = values.new_empty(batch, 1, heads, mixed)
    call = kernel("one_query", out)
    arrays = [address(each) for each in (queries, keys, values, mask, out)]
    grain = _GRAIN // (count * (width + mixed)) + 1
    in_parts(
        lambda begin, end, _: call(ctypes.byref(shape), *arrays, begin, end), batch * heads, grain
    )
    return out.transpose(1, 2)
