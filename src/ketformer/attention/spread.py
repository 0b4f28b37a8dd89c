"""The spread of the scores at the start of training, which decides much of its early course.

Small weights make all scores, and so all attention weights, alike. Mechanisms differ in how their
parameters set the spread, so a fair comparison fixes the spread and not the parameters.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ketformer.attention.base import Attention
from ketformer.attention.inputs import TokenInputs
from ketformer.attention.mixer import Mixer
from ketformer.attention.scores import reference_scores
from ketformer.errors import KetformerError, NotOfferedError

_TOKENS = 64
# Factors from 2^-12 to 2^12 are tried.
_LARGEST_POWER = 12
_HALVINGS = 20


@torch.no_grad()
def spread_of_scores(attention: Mixer) -> float:
    """The standard deviation of a query's scores over the keys, for typical hidden states.

    Hidden states are standard normal, as a layer norm gives them, tokens are drawn uniformly, and
    both are always the same. The mean of the variance is over all queries and heads. What all keys
    of a query share is not counted, since the softmax does not see it, nor what rotary positions
    or ALiBi add.

    Raises:
        NotOfferedError: there are no scores, or not those of a softmax.
    """
    if not isinstance(attention, Attention):
        raise NotOfferedError(f"{type(attention).__name__} has no scores, so they have no spread")
    if attention.normalise != "softmax":
        raise NotOfferedError(
            f"{type(attention).__name__}: normalise={attention.normalise} has no spread of scores, "
            "which is that of a softmax's"
        )
    like = a_weight(attention)
    generator = torch.Generator("cpu").manual_seed(0)
    hidden = torch.randn(1, _TOKENS, attention.hidden_size, generator=generator, device="cpu")
    training = attention.training
    try:
        queries, keys, _ = attention.eval().project(hidden.to(like), _tokens(attention, generator))
    finally:
        attention.train(training)
    scores = reference_scores(
        attention.score, queries, keys, attention.temperature, attention.dot_scale(keys.shape[-1])
    )
    return float(scores.var(-1).mean().sqrt())


def a_weight(attention: Mixer) -> Tensor:
    """A weight or angle of the mechanism, for the type and the device of others."""
    return next(itertools.chain(attention.parameters(), attention.buffers()))


def _tokens(attention: Attention, generator: torch.Generator) -> TokenInputs:
    """Inputs for a mechanism that looks up its tokens, or that turns queries by their position."""
    sizes, device = attention.inputs, a_weight(attention).device
    positions = torch.zeros(1, _TOKENS, dtype=torch.long, device=device)
    if sizes is None:
        return TokenInputs(None, positions)
    ids = torch.randint(sizes.vocab_size, (1, _TOKENS), generator=generator, device="cpu")
    if sizes.positions == "learned":
        positions = torch.arange(_TOKENS, device=device)[None] % sizes.max_positions
    conditions = unknown = None
    if sizes.n_conditions:
        shape = (1, sizes.n_conditions)
        conditions = torch.randn(shape, generator=generator, device="cpu").to(device)
        unknown = torch.zeros(shape, dtype=torch.bool, device=device)
    return TokenInputs(ids.to(device), positions, conditions, unknown)


@torch.no_grad()
def start_scores(attention: Mixer, default: float | None = None) -> None:
    """Scale freshly drawn weights so that the scores have the ``initial_spread`` asked for.

    Args:
        attention: the mechanism; one without scores, or without a softmax, is left alone.
        default: the spread if the option is not given; a mechanism that cannot start with it
            keeps its own start.

    Raises:
        NotOfferedError: the option is given, but nothing but the temperature sets the spread.
        KetformerError: the option is given, but no scale of the weights gives that spread.
    """
    if not isinstance(attention, Attention) or attention.normalise != "softmax":
        return
    wanted, weights = attention.initial_spread, attention.score_weights()
    spread, name = wanted or default, type(attention).__name__
    if spread is None or a_weight(attention).is_meta:
        return
    if wanted and not weights:
        raise NotOfferedError(
            f"{name} cannot start with a chosen initial_spread: it has no weights that set it; "
            "set its temperature"
        )
    if not _scale(attention, weights, spread) and wanted:
        raise KetformerError(
            f"{name}: no scale of its weights gives an initial_spread of {spread}; set its "
            "temperature as well"
        )


def _scale(attention: Attention, weights: list[Tensor], spread: float) -> bool:
    """Scale the weights for that spread; if no factor gives it, leave them as they are."""
    drawn = [weight.clone() for weight in weights]

    def is_small(power: float) -> bool:
        for weight, values in zip(weights, drawn, strict=True):
            weight.copy_(values * 2**power)
        return spread_of_scores(attention) < spread

    too_small = is_small(0)
    # The nearest crossing: some scores spread less again where the weights grow further.
    for step in range(1, _LARGEST_POWER + 1 if weights else 0):
        for sign in (1.0, -1.0):
            near, far = sign * (step - 1), sign * step
            if is_small(far) == too_small:
                continue
            for _ in range(_HALVINGS):
                middle = (near + far) / 2
                near, far = (middle, far) if is_small(middle) == too_small else (near, middle)
            return True
    is_small(0)
    return False
