"""The weights of a model in one that knows more tokens or has more conditions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ketformer.attention import ConditionEmbedding
from ketformer.errors import KetformerError


@torch.no_grad()
def carry_over(old: nn.Module, new: nn.Module, tokens: Sequence[int | None]) -> set[str]:
    """Copy the weights of ``old`` into ``new``, which may have more tokens and conditions.

    The rows of a new token, in the embedding, the output layer and the tables of a mechanism, are
    the mean of the others. New conditions come last, and what embeds them is 0, so that at first
    they change nothing.

    Args:
        old: the trained model.
        new: a model of the same architecture.
        tokens: the id in ``old`` of each token of ``new``; None for one that it does not know.

    Returns:
        The names of the weights that are new or have grown.

    Raises:
        KetformerError: a weight depends on the conditions or the context in another way.
    """
    known = old.state_dict()
    embeddings = tuple(
        f"{name}." for name, part in new.named_modules() if isinstance(part, ConditionEmbedding)
    )
    larger = set()
    for name, weight in new.state_dict().items():
        before = known.get(name)
        if before is not None and before.shape == weight.shape:
            weight.copy_(before)
            continue
        larger.add(name)
        if name.startswith(embeddings):
            weight.zero_()
            if before is not None:
                weight[tuple(map(slice, before.shape))] = before
        elif before is not None and (grown := _grown(before, weight, tokens)) is not None:
            weight.copy_(grown)
        else:
            was = "is missing" if before is None else f"has shape {tuple(before.shape)}"
            raise KetformerError(
                f"{name} {was} and would need {tuple(weight.shape)}: this mechanism cannot take "
                "these conditions, or this context, on from the other run"
            )
    return larger


def _grown(before: Tensor, weight: Tensor, tokens: Sequence[int | None]) -> Tensor | None:
    """A table of tokens with the rows of the new ones; None if the weight is none."""
    differing = [i for i, size in enumerate(weight.shape) if before.shape[i : i + 1] != (size,)]
    if before.dim() != weight.dim() or len(differing) != 1 or not before.is_floating_point():
        return None
    (dim,) = differing
    known = [token for token in tokens if token is not None]
    if weight.shape[dim] != len(tokens) or before.shape[dim] != len(known):
        return None
    rows = torch.cat([before, before.mean(dim, keepdim=True)], dim)
    mean = before.shape[dim]
    places = [mean if token is None else token for token in tokens]
    return rows.index_select(dim, torch.tensor(places, device=before.device))
