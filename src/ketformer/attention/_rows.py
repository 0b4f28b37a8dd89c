"""Conformance checks of scores, weights and states, for `ketformer.attention.conformance`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ketformer.attention._trials import LENGTH, TYPES, Case, GrowingCache
from ketformer.attention.base import Attention
from ketformer.attention.linear import CHUNK
from ketformer.attention.recurrent import RecurrentMixer
from ketformer.attention.registry import attention_options
from ketformer.attention.spread import spread_of_scores
from ketformer.errors import NotOfferedError
from ketformer.utils.conformance import alike, close, require, same_shape


def weights(case: Case) -> Iterator[float]:
    """The returned weights are those that mix the values, and each row is normalised."""
    for dtype in TYPES:
        attention, batch = case.build(dtype=dtype), case.batch(2, LENGTH, dtype=dtype)
        fused, nothing = batch.attend(attention)
        require(nothing is None, "weights were returned without being requested")
        output, weights = batch.attend(attention, return_weights=True)
        assert isinstance(attention, Attention)
        assert weights is not None
        same_shape("weights", weights, (2, attention.num_heads, LENGTH, LENGTH))
        *_, values = attention.project(attention.shift(batch.states)[0], batch.tokens)
        mixed = attention.output((weights @ values).transpose(1, 2).flatten(2))
        yield alike("the output with weights returned", output, fused)
        yield alike("values mixed by the weights", mixed, output)
        # What a token takes sums to one; for transposed weights, what it gives.
        taken = weights if attention.is_causal else weights.mT
        if attention.normalise == "l2":
            norm = taken.norm(dim=-1)
            yield close("the norm of weights", norm, torch.ones_like(norm), 1e-3)
        else:
            yield alike("the sum of weights", taken.sum(dim=-1), torch.ones_like(taken[..., 0]))
        later = taken.triu(1)
        yield close("weights of later positions", later, torch.zeros_like(later), 0)
        signed = attention.normalise == "l2"
        require(signed or bool((weights >= 0).all()), "a weight is negative")


def start(case: Case) -> Iterator[float]:
    """The scores start with the ``initial_spread`` asked for, where weights can set it."""
    if "initial_spread" not in attention_options(case.attention):
        return
    for spread in (0.01, 0.1):
        try:
            found = spread_of_scores(case.as_built(initial_spread=spread))
        except NotOfferedError:
            return
        exact = abs(found / spread - 1) < 1e-4
        yield require(exact, f"an initial_spread of {spread} gives {found:.4g}")


def forms(case: Case) -> Iterator[float]:
    """The parallel and the recurrent form of a mixer with a state are the same function."""
    mixer = case.build(dtype=torch.float64)
    if not isinstance(mixer, RecurrentMixer):
        return
    lengths = (CHUNK + LENGTH, 3)  # more than are computed at a time
    sequences = [case.batch(1, n, seed=n, dtype=torch.float64) for n in lengths]
    batch = case.padded(sequences, "left")
    whole = batch.through(mixer, batch.mask())
    for first in (0, LENGTH):
        cache, steps, seen = GrowingCache(), [], 0
        for part in batch.split((*[first] * bool(first), *(1,) * (batch.length - first))):
            seen += part.length
            steps.append(part.through(mixer, batch.mask(part.length, seen), cache=cache))
        yield close(f"the recurrent form after {first}", torch.cat(steps, dim=1), whole, 1e-10)
