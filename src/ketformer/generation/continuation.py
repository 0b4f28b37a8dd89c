"""Sampling beyond the context: a model with 16 positions can still write a page."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from ketformer.errors import KetformerError
from ketformer.generation.decoding import choose, choosing
from ketformer.models import KetformerForCausalLM
from ketformer.models.roomy_cache import roomy_cache

#: Yields the new tokens ``[B, n]`` as they are written; returns the seen tokens with these added.
_Writing = Generator[Tensor, None, Tensor]


def continue_tokens(
    model: KetformerForCausalLM, input_ids: Tensor, max_new_tokens: int, **options: Any
) -> Tensor:
    """The new tokens that :func:`stream_tokens` yields, joined: ``[B, max_new_tokens]``."""
    written = list(stream_tokens(model, input_ids, max_new_tokens, **options))
    return torch.cat(written, dim=-1) if written else input_ids[:, :0]


@torch.inference_mode()
def stream_tokens(
    model: KetformerForCausalLM,
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_beams: int = 1,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Continue each row by ``max_new_tokens`` tokens, the same as ``generate`` writes.

    When the context is full, its older half is dropped and generation continues from the
    newer half, so that the cache is rebuilt once per half context instead of at each
    token. Each token therefore sees between half a context and a whole one, with or
    without the cache.

    Args:
        model: any Ketformer model.
        input_ids: ``[B, T]``, T >= 1; a prompt longer than the context is cut on the left.
        max_new_tokens: tokens to add.
        do_sample: draw tokens from torch's global generator; otherwise the most likely one.
        temperature: divides the logits, when drawing.
        top_k: draw among the k most likely tokens; 0 for all.
        top_p: draw among the most likely tokens that hold this much probability.
        num_beams: beam search with that many beams.
        use_cache: keep keys and values between tokens, if the model is causal.

    Yields:
        ``[B, n]``, the new tokens as they are written: one at a time, or many at once with
        beams and for models with an end token.

    Raises:
        KetformerError: an empty prompt.
    """
    if input_ids.shape[-1] == 0:
        raise KetformerError("the prompt is empty")
    use_cache = use_cache and model.is_causal
    write: Callable[..., _Writing]
    if num_beams > 1 or model.config.eos_token_id is not None:
        drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        options: dict[str, Any] = {"do_sample": do_sample, **(drawing if do_sample else {})}
        write = partial(_generate, num_beams=num_beams, **options)
    else:
        processors = choosing(temperature, top_k, top_p) if do_sample else None
        write = partial(_write, processors=processors)
    context = model.config.max_position_embeddings
    seen = input_ids[:, -context:]
    missing = max_new_tokens
    while missing > 0:
        if seen.shape[-1] == context:
            seen = seen[:, -(max(context // 2, 1)) :] if context > 1 else seen
        room = max(context - seen.shape[-1], 1)
        out = yield from write(model, seen, min(room, missing), use_cache=use_cache)
        missing -= out.shape[-1] - seen.shape[-1]
        seen = out[:, -context:]


def _write(
    model: KetformerForCausalLM,
    seen: Tensor,
    count: int,
    *,
    processors: LogitsProcessorList | None,
    use_cache: bool,
) -> _Writing:
    """Do what ``generate`` does for rows of equal length that never end.

    Per token, the overhead of ``generate`` takes longer than a small model does.
    """
    cache = roomy_cache() if use_cache else None
    new = seen
    for _ in range(count):
        logits = (
            model(new, past_key_values=cache, use_cache=use_cache, logits_to_keep=1)
            .logits[:, -1]
            .float()
        )
        chosen = logits.argmax(-1) if processors is None else choose(logits, seen, processors)
        yield chosen[:, None]
        seen = torch.cat([seen, chosen[:, None]], dim=-1)
        new = chosen[:, None] if use_cache else seen
    return seen


def _generate(model: KetformerForCausalLM, seen: Tensor, count: int, **options: Any) -> _Writing:
    """Generate in one piece: with beams, and for rows that end while others continue."""
    written: Tensor = model.generate(
        seen,
        attention_mask=torch.ones_like(seen),
        max_new_tokens=count,
        pad_token_id=model.config.pad_token_id or 0,
        **options,
    )
    yield written[:, seen.shape[-1] :]
    return written
