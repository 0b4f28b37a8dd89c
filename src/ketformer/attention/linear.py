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
        squares: whether the sum of (k·q)² over the positions so far is read as well, in one more
            column; keys are then written as further values. Only without decay.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    log_decay: Tensor | None = None
    squares: bool = False

    @property
    def written(self) -> Tensor:
        """What goes into the state with each key, ``[B, H, T, v]`` or ``[B, H, T, v + w]``."""
        return torch.cat([self.values, self.keys], dim=-1) if self.squares else self.values

    def part(self, begin: int, end: int) -> Tokens:
        """Some of the positions."""
        own = slice(begin, end)
        decay = None if self.log_decay is None else self.log_decay[..., own]
        keys, values = self.keys[..., own, :], self.values[..., own, :]
        return Tokens(self.queries[..., own, :], keys, values, decay, self.squares)


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
    reads = complex_reads(torch.cat([*queries], dim=-1))
    return Tokens(reads, torch.cat([*keys], -1), torch.cat([*values], -1), log_decay)


def complex_reads(queries: Tensor) -> Tensor:
    """``[…, 2, T, 2 d]``, the two reads of queries [Re q, Im q] ``[…, T, 2 d]``."""
    real, imag = queries.chunk(2, dim=-1)
    return torch.stack([queries, torch.cat([imag, -real], dim=-1)], dim=-3)


def complex_read(read: Tensor) -> Tensor:
    """``S_t q`` as ``[2, B, H, T, v]``, Re and Im, from the two reads ``[B, H, 2, T, 2 v]``."""
    by_real, by_imag = read.unbind(-3)
    (real, imag), (turned, minus) = by_real.chunk(2, -1), by_imag.chunk(2, -1)
    return torch.stack([real - minus, imag + turned])


def start(tokens: Tokens) -> Tensor:
    """The state before any position, ``[B, H, K, v, w]``, of 0; K is 1 without decay."""
    values, decay = tokens.values, tokens.log_decay
    states, width = 1 if decay is None else decay.shape[2], tokens.keys.shape[-1]
    written = values.shape[-1] + (width if tokens.squares else 0)
    sizes = (*values.shape[:2], states, written, width)
    return values.new_zeros(sizes, dtype=_wide(values))


def step(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence at one position: what it reads ``[B, H, R, 1, v]``, and the new state."""
    tokens = _widened(tokens)
    if tokens.log_decay is not None:
        state = tokens.log_decay.exp().unsqueeze(-1) * state
    state = state + (tokens.written.mT @ tokens.keys).unsqueeze(2)
    read = _read(tokens, tokens.queries, state.unsqueeze(3))
    return read.sum(2), state


def _read(tokens: Tokens, queries: Tensor, state: Tensor) -> Tensor:
    """What queries ``[…, T, w]`` read from a state."""
    read = queries @ state.mT
    if not tokens.squares:
        return read
    width = tokens.values.shape[-1]
    squares = (read[..., width:] * queries).sum(-1, keepdim=True)
    return torch.cat([read[..., :width], squares.clamp_min(0)], dim=-1)  # rounding may go below 0


def in_chunks(
    tokens: Tokens, state: Tensor | None = None, *, keep: bool = True
) -> tuple[Tensor, Tensor | None]:
    """What positions read ``[B, H, R, T, v]``, and the state after them, in chunks of positions.

    Pairs of positions meet only within a chunk; what came before is read from the state.

    Args:
        tokens: any number of positions.
        state: after earlier positions, ``[B, H, K, v, w]``; None if there are none.
        keep: whether the state after the positions is wanted. For wide keys and values of few
            positions it takes most of the work.

    Returns:
        Both at least in float32; None for a state that is not wanted.
    """
    tokens, read = _widened(tokens), []
    if torch.compiler.is_exporting():  # the graph takes sequences of any length: none is cut
        return _chunk(tokens, state, keep)
    length = tokens.keys.shape[2]
    for begin in range(0, length, CHUNK):
        end = begin + CHUNK
        found, state = _chunk(tokens.part(begin, end), state, keep or end < length)
        read.append(found)
    return read[0] if len(read) == 1 else torch.cat(read, dim=-2), state


def _chunk(tokens: Tokens, state: Tensor | None, keep: bool) -> tuple[Tensor, Tensor | None]:
    queries, decay = tokens.queries, tokens.log_decay
    reads, length = queries.shape[-3:-1]
    flat, keys, values = queries.flatten(3, 4), tokens.keys.unsqueeze(2), tokens.values.unsqueeze(2)
    scores = (flat @ keys.mT).unflatten(3, (reads, length))  # [B, H, K or 1, R, T, T]
    if decay is None:
        scores = scores.tril_()  # in place here and below: new memory takes as long as the sums
    else:
        total = decay.cumsum(-1)  # [B, H, K, T]
        seen = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
        # Masked before the exponential, which would overflow for later positions.
        since = (total[..., :, None] - total[..., None, :]).masked_fill_(~seen, -torch.inf)
        scores = scores * since.exp_().unsqueeze(3)
    scores = scores.flatten(3, 4)
    read = scores @ values  # [B, H, K, R T, v]
    if tokens.squares:
        read = torch.cat([read, scores.square().sum(-1, keepdim=True)], dim=-1)
    if state is not None:
        if decay is not None:
            flat = (queries * total.exp()[..., None, :, None]).flatten(3, 4)
        read = read + _read(tokens, flat, state)
    read = read.sum(2) if read.shape[2] > 1 else read.squeeze(2)
    read = read.unflatten(2, (reads, length))
    if not keep:
        return read, None
    values = tokens.written.unsqueeze(2)
    if decay is not None:
        last = total[..., -1:]
        values = values * (last - total).exp().unsqueeze(-1)
        state = None if state is None else last.exp().unsqueeze(-1) * state
    added = values.mT @ keys
    return read, added if state is None else state + added


def _widened(tokens: Tokens) -> Tokens:
    """At least float32: sums over many positions lose too many digits in half precision."""
    queries, keys, values, decay, squares = tokens
    wide = _wide(keys)
    decay = None if decay is None else decay.to(wide)
    return Tokens(queries.to(wide), keys.to(wide), values.to(wide), decay, squares)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
