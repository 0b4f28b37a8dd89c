"""Sampling beyond the context: a model with 16 positions can still write a page."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ketformer.errors import KetformerError
from ketformer.models.modeling import KetformerForCausalLM


@torch.inference_mode()
def continue_tokens(
    model: KetformerForCausalLM, input_ids: Tensor, max_new_tokens: int, **generation: Any
) -> Tensor:
    """Continue each row by ``max_new_tokens`` tokens with transformers' ``generate``.

    When the context is full, the older half of it is dropped and generation goes on
    from the newer half, so that the cache is rebuilt once in half a context rather
    than at each token. Each token therefore sees between half a context and a whole
    one, with the cache and without it alike.

    Args:
        model: any Ketformer model.
        input_ids: ``[B, T]``, T >= 1; a prompt longer than the context is cut on the left.
        max_new_tokens: tokens to add.
        **generation: options of ``generate``: ``do_sample``, ``temperature``,
            ``top_k``, ``top_p``, ``num_beams``, ``use_cache``.

    Returns:
        ``[B, max_new_tokens]``, the new tokens alone.

    Raises:
        KetformerError: an empty prompt.
    """
    if input_ids.shape[-1] == 0:
        raise KetformerError("the prompt is empty")
    context = model.config.max_position_embeddings
    if not model.is_causal:
        generation["use_cache"] = False
    seen = input_ids[:, -context:]
    written: list[Tensor] = []
    missing = max_new_tokens
    while missing > 0:
        if seen.shape[-1] == context:
            seen = seen[:, -(max(context // 2, 1)) :] if context > 1 else seen
        room = max(context - seen.shape[-1], 1)
        out = model.generate(
            seen,
            attention_mask=torch.ones_like(seen),
            max_new_tokens=min(room, missing),
            pad_token_id=model.config.pad_token_id or 0,
            **generation,
        )
        written.append(out[:, seen.shape[-1] :])
        missing -= written[-1].shape[-1]
        seen = out[:, -context:]
    return torch.cat(written, dim=-1) if written else input_ids[:, :0]
