"""The spread of the scores at the start of training, which decides much of its early course.

Small weights make all scores, and so all attention weights, alike. Mechanisms differ in how their
parameters set the spread, so a fair comparison fixes the spread and not the parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ketformer.attention.inputs import TokenInputs
from ketformer.attention.scores import reference_scores
from ketformer.errors import KetformerError, NotOfferedError

if TYPE_CHECKING:
    from ketformer.attention.base import Attention

_TOKENS = 64
# Factors from 2^-12 to 2^12 are tried.
_LARGEST_POWER = 12
_HALVINGS = 20


@torch.no_grad()
def spread_of_scores(attention: Attention) -> float:
    """The standard deviation of a query's scores over the keys, for typical hidden states.

    Hidden states are standard normal, as a layer norm gives them, and always the same. The mean
    of the variance is over all queries and heads. What all keys of a query share is not counted,
    since the softmax does not see it. Neither is what positions add: all tokens are at position 0.

    Raises:
        KetformerError: the mechanism looks up its tokens, so hidden states are not enough.
    """
    like = next(attention.parameters())
    generator = torch.Generator("cpu").manual_seed(0)
    hidden = torch.randn(1, _TOKENS, attention.hidden_size, generator=generator, device="cpu")
    at_start = TokenInputs(None, torch.zeros(1, _TOKENS, dtype=torch.long, device=like.device))
    training = attention.training
    try:
        queries, keys, _ = attention.eval().project(hidden.to(like), at_start)
    finally:
        attention.train(training)
    scores = reference_scores(
        attention.score, queries, keys, attention.temperature, attention.dot_scale(keys.shape[-1])
    )
    return float(scores.var(-1).mean().sqrt())


@torch.no_grad()
def start_scores(attention: Attention) -> None:
    """Scale freshly drawn weights so that the scores have the ``initial_spread`` asked for, if any.

    Raises:
        NotOfferedError: nothing but the temperature sets the spread of its scores.
        KetformerError: no scale gives that spread.
    """
    spread, name = attention.initial_spread, type(attention).__name__
    if spread is None or attention.out_proj.weight.is_meta:
        return
    weights = attention.score_weights()
    if not weights:
        raise NotOfferedError(
            f"{name} cannot start with a chosen initial_spread: it has no weights that set it; "
            "set its temperature"
        )
    drawn = [weight.clone() for weight in weights]

    def found(power: float) -> float:
        for weight, values in zip(weights, drawn, strict=True):
            weight.copy_(values * 2**power)
        return spread_of_scores(attention)

    too_small = found(0) < spread
    # The nearest crossing: some scores spread less again where the weights grow further.
    for step in range(1, _LARGEST_POWER + 1):
        for sign in (1.0, -1.0):
            near, far = sign * (step - 1), sign * step
            if (found(far) < spread) == too_small:
                continue
            for _ in range(_HALVINGS):
                middle = (near + far) / 2
                near, far = (
                    (middle, far) if (found(middle) < spread) == too_small else (near, middle)
                )
            return
    raise KetformerError(f"{name}: no scale of its weights gives an initial_spread of {spread}")
