"""Sampling whole sequences in batches: the cache is kept, finished rows are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ketformer.errors import KetformerError
from ketformer.generation.constraint import Constraint
from ketformer.models import KetformerForCausalLM
from ketformer.models.conditions import check_conditions
from ketformer.models.roomy_cache import roomy_cache


def choosing(temperature: float, top_k: int, top_p: float) -> LogitsProcessorList:
    """Transformers' logits processors for these options; none for their neutral values."""
    processors = LogitsProcessorList()
    if temperature not in (0.0, 1.0):
        processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    return processors


def choose(
    logits: Tensor,
    seen: Tensor,
    processors: LogitsProcessorList,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A token for each row, drawn as transformers draws it.

    Args:
        logits: ``[B, vocab_size]``.
        seen: ``[B, T]``, the tokens so far, which the processors may look at.
        processors: see :func:`choosing`.
        generator: random generator; None is the global one.
    """
    probabilities = processors(seen, logits).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


class Guide(Protocol):
    """Says which tokens may follow, in sequences that are sampled together."""

    def allowed(self, rows: Tensor) -> Tensor:
        """``[B, V]``: whether each token may be next in the sequences of these numbers."""

    def advance(self, rows: Tensor, chosen: Tensor) -> None:
        """Note the tokens ``[B]`` that were chosen for these."""


@torch.inference_mode()
def sample_sequences(
    model: KetformerForCausalLM,
    num: int,
    *,
    generator: torch.Generator,
    conditions: Tensor | None = None,
    prompt: Sequence[int] = (),
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    never: Sequence[int] = (),
    guide: Guide | None = None,
    use_cache: bool = True,
    guidance: float = 1.0,
    constraint: Constraint | None = None,
) -> Tensor:
    """Sample sequences from the begin token until each ends or the context is full.

    Args:
        model: with ``bos_token_id``, ``eos_token_id`` and ``pad_token_id`` configured.
        num: how many, in one batch.
        generator: random generator on the model's device.
        conditions: ``[num, C]`` in their own units, NaN where unknown.
        prompt: token ids that every sequence starts with, after the begin token; fewer
            than the context holds.
        temperature: divides the logits; 0 takes the most likely token.
        top_k: choose among the k most likely tokens; 0 for all.
        top_p: choose among the most likely tokens that hold this much probability.
        never: token ids that are never sampled.
        guide: which tokens may follow in each sequence; it begins after the prompt.
        use_cache: keep keys and values between tokens; the result is the same without,
            except in a model that scales by its batch (``published_scaling``).
        guidance: weight of the conditions: the logits are those without conditions plus this
            many times the difference that the conditions make (Ho and Salimans 2022, arXiv
            2207.12598; for text Sanchez et al. 2023, arXiv 2306.17806, equation 7).
        constraint: which tokens are allowed.

    Returns:
        ``[num, T]`` token ids after the begin token, the end token included where a
        sequence has one, then padding; T is at most the context.

    Raises:
        KetformerError: the model has no begin, end or padding token, or see
            :func:`~ketformer.models.conditions.check_conditions`.
    """
    config = model.config
    check_conditions(config, conditions)
    bos, eos, pad = config.bos_token_id, config.eos_token_id, config.pad_token_id
    if bos is None or eos is None or pad is None:
        raise KetformerError("this model needs bos_token_id, eos_token_id and pad_token_id")
    context = config.max_position_embeddings
    processors = choosing(temperature, top_k, top_p)
    out = torch.full((num, context), pad, device=model.device)
    begin = torch.tensor([bos, *prompt], device=model.device)
    out[:, : len(prompt)] = begin[1:]
    barred = torch.tensor(list(never), dtype=torch.long, device=model.device)
    rows = torch.arange(num, device=model.device)  # those that have not ended
    seen = begin.repeat(num, 1)
    cache = roomy_cache() if use_cache and model.is_causal else None
    for step in range(len(prompt), context):
        given = None if conditions is None else conditions[rows]
        new = seen if cache is None or step == len(prompt) else seen[:, -1:]
        if guidance != 1:
            given, new = _with_unconditional(given, new)
        logits = model(
            new,
            past_key_values=cache,
            use_cache=cache is not None,
            conditions=given,
            logits_to_keep=1,
        ).logits[:, -1]
        logits = logits.float().clone()
        if guidance != 1:
            conditional, free = logits.chunk(2)
            logits = free + guidance * (conditional - free)
        logits.index_fill_(1, barred, -torch.inf)
        if guide is not None:
            logits.masked_fill_(~guide.allowed(rows), -torch.inf)
        draw = partial(_draw, seen, None if temperature == 0 else processors, generator)
        if constraint is None:
            chosen = draw(logits)
        else:
            chosen = constraint.choose(
                rows,
                logits,
                draw,
                config.max_position_embeddings - step - 1,
                beforehand=temperature != 0 and bool(top_k or top_p < 1),
            )
        out[rows, step] = chosen
        if guide is not None:
            guide.advance(rows, chosen)
        going = (chosen != eos).nonzero()[:, 0]
        if not len(going):
            return out[:, : step + 1]
        seen = torch.cat([seen, chosen[:, None]], dim=1)
        if len(going) < len(rows):
            before = len(rows)
            rows, seen = rows[going], seen[going]
            if cache is not None:
                kept = going if guidance == 1 else torch.cat([going, going + before])
                cache.batch_select_indices(kept)
    return out


def _draw(
    seen: Tensor,
    processors: LogitsProcessorList | None,
    generator: torch.Generator,
    logits: Tensor,
    places: Tensor | None = None,
) -> Tensor:
    """A token for each row, or for those at some places; the most likely without processors."""
    if processors is None:
        return logits.argmax(-1)
    return choose(logits, seen if places is None else seen[places], processors, generator)


def _with_unconditional(conditions: Tensor | None, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The rows, and the same rows once more with all conditions unknown."""
    if conditions is None:
        raise KetformerError("guidance needs conditions")
    unknown = torch.full_like(conditions, torch.nan)
    return torch.cat([conditions, unknown]), torch.cat([tokens, tokens])
