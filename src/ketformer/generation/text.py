"""The ``generate`` command for text: continues a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import torch
from transformers import PreTrainedTokenizerFast, set_seed

from ketformer.errors import KetformerError, UnreadableError
from ketformer.generation.continuation import stream_tokens
from ketformer.runs import Run
from ketformer.tasks.text import encode


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: tokens to write after the prompt.
        temperature: divides the logits; 0 takes the most likely token.
        top_k: choose among the k most likely tokens; 0 for all.
        top_p: choose among the most likely tokens that hold this much probability.
        num_beams: beam search with that many beams; it needs temperature 0.
        seed: seed of the sampling.
        use_cache: keep keys and values between tokens; the text is the same without.
    """

    max_new_tokens: int = 400
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    seed: int = 42
    use_cache: bool = True

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise KetformerError(f"max_new_tokens must be positive, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise KetformerError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise KetformerError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0 or self.num_beams < 1:
            raise KetformerError("top_k must not be negative and num_beams must be positive")
        if not 0 <= self.seed < 2**32:
            raise KetformerError(f"seed must lie in [0, 2**32), got {self.seed}")
        if self.num_beams > 1 and self.temperature > 0:
            raise KetformerError("beam search needs --temperature 0")


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
