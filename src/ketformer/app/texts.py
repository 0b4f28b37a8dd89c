"""What the page shows of a text model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ketformer.app.opened_runs import Subject
from ketformer.drawing.attention import AttentionMap
from ketformer.drawing.heatmap import heat_map
from ketformer.errors import KetformerError
from ketformer.evaluation import attention_weights
from ketformer.generation import Sampling, stream_text
from ketformer.runs import Run
from ketformer.tasks.text import encode

#: The most tokens to draw attention over: more could not be read.
DRAWN = 40
# The data sets that need no download, for text and for molecules.
_EMBEDDED = ("Python's language reference", "every molecule of up to five atoms C, N, O and F")
_PAUSE = 0.15  # seconds between updates of a text, so that a browser can keep up


def verdict_on(subject: Subject) -> str:
    """The audit's result, in a few words."""
    audit, name = subject.audit, subject.attention
    if audit.causal:
        return (
            f"Causal: {name} passed the audit. Each of {audit.length} tokens was replaced in "
            f"{audit.sequences} random sequences, and no earlier output changed by a single bit."
        )
    return (
        f"Leaky: {name} sees the tokens it should predict; replacing a later one changed an "
        f"earlier output by up to {audit.max_future_influence:.2g}. Its training loss is not that "
        "of a language model; here it has to write without seeing the future."
    )


def facts_of(subject: Subject) -> str:
    """A one-line description of the model."""
    config = subject.run.model.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    data = Path(str(subject.run.manifest.get("data", {}).get("name", "unknown data"))).name
    if data == "embedded":
        data = _EMBEDDED[subject.is_molecules]
    return (
        f"{subject.run.path.name}: {subject.attention} attention, {layers} "
        f"layer{'s' * (layers > 1)} of {heads} head{'s' * (heads > 1)}, "
        f"{subject.run.model.num_parameters():,} parameters, trained on {data}"
    )


def write(run: Run, prompt: str, sampling: Sampling) -> Iterator[str]:
    """Yield the text so far a few times a second, and the whole text at the end.

    Raises:
        KetformerError: the prompt is empty or has a character that the model does not know.
    """
    if not prompt:
        raise KetformerError("the prompt is empty: type something to continue")
    shown, text = time.monotonic(), prompt
    yield text
    for text in stream_text(run, prompt, sampling):
        if time.monotonic() - shown > _PAUSE:
            yield text
            shown = time.monotonic()
    yield text


def end_of(run: Run, text: str, most: int = DRAWN) -> str:
    """The end of a text, at most ``most`` tokens and one context long.

    Raises:
        KetformerError: the text is empty or has a character that the model does not know.
    """
    if not text:
        raise KetformerError("there is no text yet: write one first")
    most = min(most, run.model.config.max_position_embeddings)
    ids = encode(run.tokenizer, text)
    if len(ids) <= most:
        return text
    end = str(run.tokenizer.decode(ids[-most:])).lstrip("�")
    while len(encode(run.tokenizer, end)) > most:  # cut byte pairs merge differently
        end = end[1:]
    return end


def text_attention(run: Run, text: str, layer: int, head: int | None) -> str:
    """The heat map of the end of a text.

    Args:
        run: a text model.
        text: of any length.
        layer: from 0.
        head: from 0, or None for the mean.

    Raises:
        KetformerError: as :func:`end_of`.
    """
    tokens, weights = attention_weights(run, end_of(run, text))
    seen = AttentionMap(text, tokens, weights[layer])
    return heat_map(tokens, seen.of_head(head), f"Layer {layer}, {seen.name_head(head)}", wide=560)
