"""REINVENT's objective (Olivecrona et al. 2017, arXiv 1704.07555)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.models import KetformerForCausalLM


def log_likelihoods(
    model: KetformerForCausalLM,
    ids: Tensor,
    conditions: Tensor | None = None,
    never: Sequence[int] = (),
) -> Tensor:
    """The log-likelihood of each sequence in nats, ``[B]``.

    It is the probability of being sampled: that of every token up to the end token, where the
    tokens ``never`` are out of the question.

    Args:
        model: a causal model with a begin, an end and a padding token.
        ids: ``[B, T]`` after the begin token, padded on the right; T is at most the context.
        conditions: ``[C]``, the same for all, NaN where unknown.
        never: token ids that are never sampled.

    Raises:
        KetformerError: the model has no begin or padding token.
    """
    config = model.config
    bos, pad = config.bos_token_id, config.pad_token_id
    if bos is None or pad is None:
        raise KetformerError("this model needs bos_token_id and pad_token_id")
    begin = ids.new_full((len(ids), 1), bos)
    logits = model(
        torch.cat([begin, ids[:, :-1]], dim=1),
        conditions=None if conditions is None else conditions.expand(len(ids), -1),
        use_cache=False,
    ).logits.float()
    barred = torch.tensor(list(never), dtype=torch.long, device=ids.device)
    logs = logits.index_fill(-1, barred, -torch.inf).log_softmax(-1)
    chosen: Tensor = logs.gather(-1, ids[..., None])[..., 0]
    return chosen.masked_fill(ids.eq(pad), 0.0).sum(-1)


def reinvent_loss(agent: Tensor, prior: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """The mean squared distance to the augmented likelihood, as the paper defines it.

    Args:
        agent: ``[B]`` log-likelihoods of the model that learns.
        prior: ``[B]`` those of the model that it started from, without a gradient.
        scores: ``[B]`` from 0 to 1.
        sigma: nats that a score of 1 is worth.
    """
    return (prior + sigma * scores - agent).square().mean()
