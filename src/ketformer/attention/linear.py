"""Linear attention: reads from a sum of outer products over the positions so far, in O(T).

What a query reads depends on the positions before it only through the state
``S_t = γ_t S_{t-1} + Σ_w v_w k_wᵀ``: it reads ``S_t q``. :func:`step` is this recurrence for one
position, :func:`in_chunks` its parallel form. Both give the same numbers up to rounding.

All is real. A position may write several pairs of a key and a value and read by several queries,
so complex numbers need no complex type: see :func:`complex_tokens`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Positions computed at a time by :func:`in_chunks`.
CHUNK = 64


class Tokens(NamedTuple):
    """What positions read and write. All numbers of positions T and of states K are the same.

    Attributes:
        queries: ``[B, H, K or 1, T, R, w]``: each position reads by R queries from each state.
        keys: ``[B, H, T, W, w]``: each position writes W pairs of a key and a value.
        values: ``[B, H, T, W, v]``.
        log_decay: log γ, ``[B, H, K, T]``, not positive; None for γ = 1 and one state.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    log_decay: Tensor | None = None

    def part(self, begin: int, end: int) -> Tokens:
        """Some of the positions."""
        decay = self.log_decay
        return Tokens(
            self.queries[:, :, :, begin:end],
            self.keys[:, :, begin:end],
            self.values[:, :, begin:end],
            None if decay is None else decay[..., begin:end],
        )


def complex_tokens(
    queries: Tensor, keys: Tensor, values: Tensor, log_decay: Tensor | None = None
) -> Tokens:
    """Tokens of the complex state ``S_t = γ_t S_{t-1} + v k†``, whose read is ``S_t q``.

    With ``R = [Re S, -Im S]`` the real part of what is read is ``R [Re q, Im q]`` and the imaginary
    part ``R [Im q, -Re q]``; and ``v k†`` adds ``Re v [Re k, Im k]ᵀ + Im v [Im k, -Re k]ᵀ`` to R.
    So a complex position is a real one with two reads, of Re and Im, and two writes.

    Args:
        queries: ``[2, B, H, K or 1, T, d]``, Re and Im.
        keys: ``[2, B, H, T, d]``.
        values: ``[2, B, H, T, v]``.
        log_decay: as in :class:`Tokens`.
    """
    return Tokens(_both(queries), _both(keys), values.movedim(0, -2), log_decay)


def _both(parts: Tensor) -> Tensor:
    """``[2, …, d]`` to ``[…, 2, 2d]``: [Re, Im] and [Im, -Re]."""
    real, imag = parts
    return torch.stack([torch.cat([real, imag], -1), torch.cat([imag, -real], -1)], dim=-2)


def start(tokens: Tokens) -> Tensor:
    """The state before any position, ``[B, H, K, v, w]``, of 0; K is 1 without decay."""
    values, decay = tokens.values, tokens.log_decay
    states = 1 if decay is None else decay.shape[2]
    return values.new_zeros(
        *values.shape[:2], states, values.shape[-1], tokens.keys.shape[-1], dtype=_wide(values)
    )


def step(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence at one position: what it reads ``[B, H, 1, R, v]``, and the new state."""
    queries, keys, values, decay = _widened(tokens)
    if decay is not None:
        state = decay.exp().unsqueeze(-1) * state
    state = state + (values.mT @ keys).squeeze(2).unsqueeze(2)
    return (queries.squeeze(3) @ state.mT).sum(2).unsqueeze(2), state


def in_chunks(tokens: Tokens, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What positions read ``[B, H, T, R, v]``, and the state after them, in chunks of positions.

    Pairs of positions meet only within a chunk; what came before is read from the state.

    Args:
        tokens: any number of positions.
        state: after earlier positions, ``[B, H, K, v, w]``; None if there are none.

    Returns:
        Both at least in float32.
    """
    state = start(tokens) if state is None else state
    tokens, read = _widened(tokens), []
    if torch.compiler.is_exporting():  # the graph takes sequences of any length: none is cut
        return _chunk(tokens, state)
    for begin in range(0, tokens.keys.shape[2], CHUNK):
        found, state = _chunk(tokens.part(begin, begin + CHUNK), state)
        read.append(found)
    return torch.cat(read, dim=2), state


def _chunk(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    queries, keys, values, decay = tokens
    length, reads, writes = keys.shape[2], queries.shape[-2], keys.shape[-2]
    flat_keys, flat_values = keys.flatten(2, 3).unsqueeze(2), values.flatten(2, 3).unsqueeze(2)
    scores = queries.flatten(3, 4) @ flat_keys.mT  # [B, H, K or 1, T R, T W]
    seen = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
    if decay is None:
        kept = seen.to(scores.dtype)
    else:
        total = decay.cumsum(-1)
        # Masked before the exponential, which would overflow for later positions.
        since = (total[..., :, None] - total[..., None, :]).masked_fill(~seen, -torch.inf)
        kept = since.exp()
    pairs = scores.unflatten(-1, (length, writes)).unflatten(-3, (length, reads))
    scores = (pairs * kept[..., :, None, :, None]).flatten(-4, -3).flatten(-2)
    from_state = queries
    if decay is not None:
        from_state = queries * total.exp()[..., None, None]
    read = scores @ flat_values + from_state.flatten(3, 4) @ state.mT
    if decay is not None:
        last = total[..., -1:]
        state = last.exp().unsqueeze(-1) * state
        left = (last - total).exp().repeat_interleave(writes, dim=-1)
        flat_values = flat_values * left.unsqueeze(-1)
    state = state + flat_values.mT @ flat_keys
    return read.sum(2).unflatten(2, (length, reads)), state


def _widened(tokens: Tokens) -> Tokens:
    """At least float32: sums over many positions lose too many digits in half precision."""
    queries, keys, values, decay = tokens
    wide = _wide(keys)
    decay = None if decay is None else decay.to(wide)
    return Tokens(queries.to(wide), keys.to(wide), values.to(wide), decay)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
