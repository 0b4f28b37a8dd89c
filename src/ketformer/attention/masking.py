"""The attention mask: which positions may attend to which."""

from __future__ import annotations

import torch
from torch import Tensor


def attention_mask(
    query_length: int,
    key_length: int,
    *,
    offset: int = 0,
    padding: Tensor | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """True where query ``i`` may attend to key ``j``: ``j <= offset + i``, and ``j`` is a token.

    Args:
        query_length: number of new positions.
        key_length: number of keys, cached ones included.
        offset: absolute position of the first query (the number of positions in the cache).
        padding: ``[batch, key_length]``, true (or 1) for tokens and false for padding.
        device: device of the mask; ignored if ``padding`` is given.

    Returns:
        Bool ``[batch or 1, 1, query_length, key_length]``. The row of a padding
        position can be all false; such a row mixes nothing and gives 0.
    """
    if padding is not None:
        device = padding.device
    keys = torch.arange(key_length, device=device)
    queries = torch.arange(query_length, device=device) + offset
    mask = (keys[None, :] <= queries[:, None])[None, None]
    return mask if padding is None else mask & padding[:, None, None, :key_length].bool()


def causal_mask(queries: Tensor, keys: Tensor) -> Tensor:
    """Plain causal attention ``[1, 1, Tq, Tk]`` of queries at the last positions of the keys.

    Args:
        queries: ``[..., Tq, Dk]``.
        keys: ``[..., Tk, Dk]``.
    """
    rows, columns = queries.shape[-2], keys.shape[-2]
    return attention_mask(rows, columns, offset=columns - rows, device=queries.device)
