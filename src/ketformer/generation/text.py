"""The ``generate`` command for text: continues a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import tee

import torch
from transformers import PreTrainedTokenizerFast, set_seed

from ketformer.errors import KetformerError, UnreadableError
from ketformer.generation.continuation import stream_tokens
from ketformer.generation.options import Sampling
from ketformer.runs import Run
from ketformer.tasks.text import encode


def generate_text(
    run: Run,
    prompt: str,
    num: int = 1,
    sampling: Sampling | None = None,
    *,
    show: Callable[[str], None] | None = None,
) -> list[str]:
    """Continue a prompt ``num`` times.

    Args:
        run: an opened run.
        prompt: the text to continue; an empty one starts from a line break, or from the
            alphabet's first character if the alphabet has no line break.
        num: how many continuations.
        sampling: how tokens are chosen.
        show: called with the prompt, then with each part of the first continuation as it is
            written.

    Returns:
        The prompt with each continuation.

    Raises:
        KetformerError: a character in the prompt that the model has no token for.
    """
    sampling = sampling or Sampling()
    if num < 1:
        raise KetformerError(f"num must be positive, got {num}")
    pieces = _pieces(run, prompt, num, sampling)
    if show:
        pieces, watched = tee(pieces)
        show(prompt)
        for part in _decoded(run.tokenizer, watched):
            show(part)
    tokens = torch.cat(list(pieces), dim=-1).cpu()
    return [prompt + text for text in run.tokenizer.batch_decode(tokens)]


def stream_text(run: Run, prompt: str, sampling: Sampling | None = None) -> Iterator[str]:
    """Continue a prompt once, yielding the whole text so far as it is written."""
    text = prompt
    for part in _decoded(run.tokenizer, _pieces(run, prompt, 1, sampling or Sampling())):
        text += part
        yield text


def _decoded(tokenizer: PreTrainedTokenizerFast, pieces: Iterable[torch.Tensor]) -> Iterator[str]:
    """The first row's text part by part, in whole characters, which byte pairs can cut."""
    held: list[int] = []
    for piece in pieces:
        held += piece[0].tolist()
        part = tokenizer.decode(held)
        if not part.endswith("\ufffd"):
            yield part
            held = []
    if held:
        yield tokenizer.decode(held)


def _pieces(run: Run, prompt: str, num: int, sampling: Sampling) -> Iterator[torch.Tensor]:
    """The new tokens ``[num, n]``, as they are written."""
    start = encode(run.tokenizer, prompt) if prompt else _start(run)
    set_seed(sampling.seed)
    options = (
        {"do_sample": False, "num_beams": sampling.num_beams}
        if sampling.temperature == 0
        else {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
    )
    prompts = start[None].expand(num, -1).to(run.model.device)
    return stream_tokens(
        run.model, prompts, sampling.max_new_tokens, use_cache=sampling.use_cache, **options
    )


def _start(run: Run) -> torch.Tensor:
    try:
        return encode(run.tokenizer, "\n")
    except UnreadableError:  # an alphabet without line breaks
        return torch.tensor([0])
