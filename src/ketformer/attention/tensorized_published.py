"""The Tensorized Transformer (arXiv 1906.09777) as its released code computes it, with its leak."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ketformer.attention.inputs import InputSizes, TokenInputs
from ketformer.attention.recurrent import of_tokens
from ketformer.attention.slots import require_slots, slots_of
from ketformer.attention.tensorized import BlockTerms, in_slots
from ketformer.errors import KetformerError, NotOfferedError


class TensorizedPublished(BlockTerms):
    """Block-term attention over all positions, later ones included.

    The released layer takes a mask and never uses it: every output is a sum over all pairs of
    tokens, so the tokens that a position should predict are among them. It exists to show that
    leak; ``tensorized`` is the same layer without it.

    Ours, besides what :class:`~ketformer.attention.tensorized.BlockTerms` names: inputs shorter
    than the context, on which the released layer fails, take the leading block of W_o; and padding
    is left out, which the released layer would read like everything else.

    Args:
        hidden_size: width of the hidden states.
        num_heads: number of heads; every released script has one.
        rank: R; None for the width of a head.
        n_cores: number of vectors c, of which the mean counts.
        bias: whether queries, keys and values have a bias; the released layer has none.
        dropout: probability of dropping entries of the output before the output layer.
        inputs: sizes of the decoder's inputs; the context length is that of W_o.

    Raises:
        KetformerError: an invalid size or option.
        NotOfferedError: positions are not ``learned``.
    """

    leaks = True
    twins = ("tensorized",)

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        rank: int | None = None,
        n_cores: int = 1,
        bias: bool | None = None,
        dropout: float = 0.0,
        inputs: InputSizes | None = None,
    ) -> None:
        super().__init__(
            hidden_size,
            num_heads,
            rank=rank,
            n_cores=n_cores,
            bias=bias,
            dropout=dropout,
            inputs=inputs,
        )

    def forward(
        self,
        hidden_states: Tensor,
        *,
        mask: Tensor | None = None,
        cache: Any = None,
        return_weights: bool = False,
        tokens: TokenInputs | None = None,
    ) -> tuple[Tensor, None]:
        """Mix all tokens, see :meth:`~ketformer.attention.mixer.Mixer.forward`.

        Of the mask only the padding counts, which is what its last query does not see.

        Raises:
            KetformerError: a cache was given, or the input is longer than the context.
            NotOfferedError: weights were requested.
        """
        name, length = type(self).__name__, hidden_states.shape[1]
        if cache is not None:
            raise KetformerError(
                f"{name} sees the future, so it cannot use a cache; pass use_cache=False"
            )
        if return_weights:
            raise NotOfferedError(f"{name} weighs pairs of tokens, so it has no attention weights")
        require_slots(name, length, self.slots)
        is_token = None if mask is None else mask[:, 0, -1]
        masked = of_tokens(hidden_states, is_token)
        by_key, by_position, keys, values = self.factors(masked)
        slots = slots_of(None, is_token, masked)
        keys, values = in_slots((keys, values), slots, is_token, length)
        # What lies after a sequence's last token is no token; all others see each other.
        last = slots.amax(-1, keepdim=True)
        visible = torch.arange(length, device=slots.device) <= last
        visible = visible.unsqueeze(1).expand(-1, length, -1)
        outputs = self.sum_of_pairs(by_key, by_position, keys, values, visible)
        mixed = of_tokens(outputs, is_token).to(hidden_states.dtype)
        return self.out_proj(F.dropout(mixed, self.dropout, self.training)), None


def translation_module(queries: Tensor, keys: Tensor, values: Tensor, cores: Tensor) -> Tensor:
    """What the released code for translation computes instead, in its encoder.

    Its core tensor takes the index of the rank for that of a token: with the mean c of the cores
    ``out_i = sum_{p<R} c_p q_ip (sum_j k_jp) v_p / sqrt(R)``. So only the first R tokens' values
    count, and keys only by their sum. Its decoder has ordinary attention, so there is no causal
    form and it is not in the registry.

    Args:
        queries: ``[..., T, R]``, with T at least R.
        keys: ``[..., T, R]``.
        values: ``[..., T, R]``.
        cores: ``[n, R]``.

    Raises:
        KetformerError: there are fewer tokens than the rank.
    """
    length, rank = queries.shape[-2:]
    if length < rank:
        raise KetformerError(f"rank {rank} needs as many tokens, got {length}")
    weights = queries * cores.mean(0) * keys.sum(-2, keepdim=True) / math.sqrt(rank)
    return weights @ values[..., :rank, :]
