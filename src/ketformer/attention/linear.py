"""Linear attention: reads from a sum of outer products over the positions so far, in O(T).

What a query reads depends on the positions before it only through the state
``S_t = γ_t S_{t-1} + v_t k_tᵀ``: it reads ``S_t q``. :func:`step` is this recurrence for one
position, :func:`in_chunks` its parallel form. Both give the same numbers up to rounding.

All is real. A position may read by several queries, so complex numbers need no complex type: see
:func:`complex_tokens`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Positions computed at a time by :func:`in_chunks`.
CHUNK = 64


class Tokens(NamedTuple):
    """What T positions read from each of K states and write to them.

    Attributes:
        queries: ``[B, H, K or 1, R, T, w]``: each position reads by R queries from each state.
        keys: ``[B, H, T, w]``.
        values: ``[B, H, T, v]``.
        log_decay: log γ, ``[B, H, K, T]``, not positive; None for γ = 1 and one state.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    log_decay: Tensor | None = None

    def part(self, begin: int, end: int) -> Tokens:
        """Some of the positions."""
        own = slice(begin, end)
        decay = None if self.log_decay is None else self.log_decay[..., own]
        keys, values = self.keys[..., own, :], self.values[..., own, :]
        return Tokens(self.queries[..., own, :], keys, values, decay)


def complex_tokens(
    queries: Tensor, keys: Tensor, values: Tensor, log_decay: Tensor | None = None
) -> Tokens:
    """Tokens of the complex state ``S_t = γ_t S_{t-1} + v k†``, whose read is ``S_t q``.

    Keys are [Re k, Im k] and values [Re v, Im v], and a position reads twice, by [Re q, Im q] and
    by [Im q, -Re q]: the products of these with a key are the real and the imaginary part of k†q.
    :func:`complex_read` puts ``S_t q`` together. The real state has all four products of parts,
    twice the numbers of S.

    Args:
        queries: ``[2, B, H, K or 1, T, d]``, Re and Im.
        keys: ``[2, B, H, T, d]``.
        values: ``[2, B, H, T, v]``.
        log_decay: as in :class:`Tokens`.
    """
    real, imag = queries
    reads = [torch.cat([real, imag], dim=-1), torch.cat([imag, -real], dim=-1)]
    return Tokens(
        torch.stack(reads, -3), torch.cat([*keys], -1), torch.cat([*values], -1), log_decay
    )


def complex_read(read: Tensor) -> Tensor:
    """``S_t q`` as ``[2, B, H, T, v]``, Re and Im, from the two reads ``[B, H, 2, T, 2 v]``."""
    by_real, by_imag = read.unbind(-3)
    (real, imag), (turned, minus) = by_real.chunk(2, -1), by_imag.chunk(2, -1)
    return torch.stack([real - minus, imag + turned])


def start(tokens: Tokens) -> Tensor:
    """The state before any position, ``[B, H, K, v, w]``, of 0; K is 1 without decay."""
    values, decay = tokens.values, tokens.log_decay
    states = 1 if decay is None else decay.shape[2]
    sizes = (*values.shape[:2], states, values.shape[-1], tokens.keys.shape[-1])
    return values.new_zeros(sizes, dtype=_wide(values))


def step(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence at one position: what it reads ``[B, H, R, 1, v]``, and the new state."""
    queries, keys, values, decay = _widened(tokens)
    if decay is not None:
        state = decay.exp().unsqueeze(-1) * state
    state = state + (values.mT @ keys).unsqueeze(2)
    return (queries @ state.mT.unsqueeze(3)).sum(2), state


def in_chunks(tokens: Tokens, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What positions read ``[B, H, R, T, v]``, and the state after them, in chunks of positions.

    Pairs of positions meet only within a chunk; what came before is read from the state.

    Args:
        tokens: any number of positions.
        state: after earlier positions, ``[B, H, K, v, w]``; None if there are none.

    Returns:
        Both at least in float32.
    """
    tokens, read = _widened(tokens), []
    if torch.compiler.is_exporting():  # the graph takes sequences of any length: none is cut
        return _chunk(tokens, state)
    for begin in range(0, tokens.keys.shape[2], CHUNK):
        found, state = _chunk(tokens.part(begin, begin + CHUNK), state)
        read.append(found)
    assert state is not None  # there is a chunk
    return torch.cat(read, dim=-2), state


def _chunk(tokens: Tokens, state: Tensor | None) -> tuple[Tensor, Tensor]:
    queries, keys, values, decay = tokens
    reads, length = queries.shape[-3:-1]
    flat, keys, values = queries.flatten(3, 4), keys.unsqueeze(2), values.unsqueeze(2)
    scores = (flat @ keys.mT).unflatten(3, (reads, length))  # [B, H, K or 1, R, T, T]
    if decay is None:
        scores = scores.tril()
    else:
        total = decay.cumsum(-1)  # [B, H, K, T]
        seen = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
        # Masked before the exponential, which would overflow for later positions.
        since = (total[..., :, None] - total[..., None, :]).masked_fill(~seen, -torch.inf)
        scores = scores * since.exp().unsqueeze(3)
    read = scores.flatten(3, 4) @ values  # [B, H, K, R T, v]
    if state is not None:
        if decay is not None:
            flat = (queries * total.exp()[..., None, :, None]).flatten(3, 4)
        read = read + flat @ state.mT
    if decay is not None:
        last = total[..., -1:]
        values = values * (last - total).exp().unsqueeze(-1)
        state = None if state is None else last.exp().unsqueeze(-1) * state
    added = values.mT @ keys
    read = read.sum(2) if read.shape[2] > 1 else read.squeeze(2)
    return read.unflatten(2, (reads, length)), added if state is None else state + added


def _widened(tokens: Tokens) -> Tokens:
    """At least float32: sums over many positions lose too many digits in half precision."""
    queries, keys, values, decay = tokens
    wide = _wide(keys)
    decay = None if decay is None else decay.to(wide)
    return Tokens(queries.to(wide), keys.to(wide), values.to(wide), decay)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
