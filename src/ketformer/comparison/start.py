"""Equal starts: scores that are equally far apart at the first step, and the proof of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention import Attention, Mixer, attention_options
from ketformer.attention.layers import as_given, options_by_name
from ketformer.attention.spread import spread_of_scores
from ketformer.comparison.variants import Variant, new_attention
from ketformer.errors import KetformerError
from ketformer.models import KetformerConfig, KetformerForCausalLM
from ketformer.runs import Settings
from ketformer.runs.data import build_model
from ketformer.tasks.base import Prepared

# Draws whose mean variance decides a temperature: a few circuits at random angles differ widely.
_DRAWS = 8
# Sequences of the first batch that the start is measured on.
_SEQUENCES = 8


def started_alike(
    variants: Sequence[Variant],
    settings: Settings,
    model_keys: Mapping[str, Any],
    spread: float,
    seeds: Sequence[int],
) -> list[Variant]:
    """The rows, each with options that give its scores this spread at the start.

    The weights of queries and keys are scaled if they can set the spread (``initial_spread``) in
    every layer and with every seed, and otherwise the temperature is changed. Rows with an
    ``initial_spread`` or ``temperature`` of their own, mechanisms without either option, and those
    without a softmax of scores stay as they are.

    Args:
        variants: the rows.
        settings: the settings they share.
        model_keys: configuration keys set by the data, at least the vocabulary size.
        spread: standard deviation of a query's scores over the keys.
        seeds: all those that they are trained with.
    """
    return [_started(variant, settings, model_keys, spread, seeds) for variant in variants]


def _started(
    variant: Variant,
    settings: Settings,
    model_keys: Mapping[str, Any],
    spread: float,
    seeds: Sequence[int],
) -> Variant:
    model = {**model_keys, **settings.override(variant.changes).model}
    given = options_by_name(model["attention"], model.get("attention_options"))
    begun = {
        name: _options({**model, "attention": name, "attention_options": own}, spread, seeds)
        for name, own in given.items()
    }
    if begun == given:
        return variant
    options = as_given(model["attention"], begun)
    return replace(variant, changes={**variant.changes, "attention_options": options})


def _options(model: Mapping[str, Any], spread: float, seeds: Sequence[int]) -> dict[str, Any]:
    """The options of the model's one mechanism, with what gives its scores the spread."""
    given: dict[str, Any] = model["attention_options"]
    offered = attention_options(model["attention"])
    if given.keys() & {"initial_spread", "temperature"} or "initial_spread" not in offered:
        return given
    if _offers({**model, "attention_options": {**given, "initial_spread": spread}}, seeds):
        return {**given, "initial_spread": spread}
    if given.get("score", offered["score"]) == "double_exponential":
        return given  # its scores lie within [0, 1], whatever the temperature
    if given.get("normalise", offered["normalise"]) != "softmax":
        return given  # the size of all scores is divided out
    drawn = [spread_of_scores(new_attention(model, seed)) ** 2 for seed in range(_DRAWS)]
    temperature = float(f"{math.sqrt(sum(drawn) / _DRAWS) / spread:.3g}")
    return {**given, "temperature": temperature}


def _offers(model: Mapping[str, Any], seeds: Sequence[int]) -> bool:
    """Whether the weights of every layer can give its scores the spread in its options.

    Some draws of few qubits cannot, since overlaps are bounded.
    """
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            try:
                KetformerForCausalLM(KetformerConfig(**model))
            except KetformerError:
                return False
    return True


def measured_start(settings: Settings, data: Prepared) -> dict[str, float | None]:
    """How attention starts on the first sequences of the training set.

    Args:
        settings: all settings of a run, including the seed.
        data: its prepared data.

    Returns:
        ``start_spread``, the standard deviation of a query's scores over the keys it sees, and
        ``start_entropy``, the entropy of its weights relative to that of equal weights; both are
        means over queries, heads and blocks, and None if the model is not causal, or some of its
        layers have no weights or such as may be negative.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.get("seed", 42))
        model = build_model(settings, data).eval()
    if not model.is_causal or not all(map(_weighs, model.modules())):
        return {"start_spread": None, "start_entropy": None}
    rows, _ = data.training_sets(model.config.max_position_embeddings)
    batch = rows.batch(list(range(min(_SEQUENCES, len(rows)))))
    batch.pop("shift_labels")
    with torch.no_grad():
        layers = model(**batch, output_attentions=True, use_cache=False).attentions
    spreads, entropies = zip(*map(_spread_and_entropy, layers), strict=True)
    return {
        "start_spread": sum(spreads) / len(spreads),
        "start_entropy": sum(entropies) / len(entropies),
    }


def _weighs(module: nn.Module) -> bool:
    """Whether it is no mixer without weights, or with weights of either sign."""
    if isinstance(module, Attention):
        return module.normalise != "l2"
    return not isinstance(module, Mixer)


def _spread_and_entropy(weights: Tensor) -> tuple[float, float]:
    """The two measures of one block's weights ``[B, H, T, T]``."""
    length = weights.shape[-1]
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    count = seen.sum(-1)
    log = weights.double().clamp_min(1e-300).log()  # the scores, but for a constant in each row
    mean = (log * seen).sum(-1, keepdim=True) / count[:, None]
    # The first query sees one key, so it has no spread, and no choice either.
    variance = (((log - mean) ** 2 * seen).sum(-1) / (count - 1).clamp_min(1))[..., 1:]
    entropy = -(weights.double() * log * seen).sum(-1)[..., 1:] / count[1:].log()
    return float(variance.mean().sqrt()), float(entropy.mean())
