"""The tab of a model of text: type a prompt, watch it go on, see what it looks at."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Literal

import gradio as gr

from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages, note
from ketformer.app.subjects import Subject
from ketformer.app.texts import DRAWN, facts_of, text_attention, verdict_on, write
from ketformer.generation import Sampling
from ketformer.models import KetformerConfig

_DEFAULT = Sampling()
_PROMPT = "The "


def text_tab(subject: Subject) -> None:
    """Its widgets, and what they do."""
    run = subject.run
    config = run.model.config
    introduce(subject)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            prompt = gr.Textbox(
                _PROMPT, label="Prompt", info="What the model goes on from.", lines=3
            )
            length = gr.Slider(1, 1000, 200, step=1, label="Length", info="Tokens to write.")
            temperature = gr.Slider(
                0, 2, _DEFAULT.temperature, step=0.05, label="Temperature",
                info="Low is cautious, high is wild; 0 takes the most likely token.",
            )  # fmt: skip
            with gr.Accordion("More choices", open=False):
                top_k = gr.Slider(
                    0, min(200, config.vocab_size), 0, step=1, label="Top-k",
                    info="Choose among the k most likely tokens; 0 is all of them.",
                )  # fmt: skip
                top_p = gr.Slider(
                    0.05, 1, 1, step=0.05, label="Top-p",
                    info="Choose among the most likely tokens that hold this probability.",
                )  # fmt: skip
                seed = gr.Number(
                    _DEFAULT.seed, precision=0, label="Seed", info="The same gives the same text."
                )
            with gr.Row():
                start = gr.Button("Write", variant="primary", min_width=100)
                stop = gr.Button("Stop", min_width=100)
        with gr.Column(scale=3, min_width=280):
            text = gr.Textbox(
                label="Text", lines=14, max_lines=14, interactive=False, autoscroll=True,
                placeholder="Press “Write”.", elem_classes="written", buttons=["copy"],
            )  # fmt: skip
    gr.Markdown("### Attention")
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            most = min(DRAWN, config.max_position_embeddings)
            gr.Markdown(
                f"What the last tokens of the text, {most} at most, take from those before them. A "
                "row is a position and sums to 1. Point at a cell for its number."
            )
            layer, head = choose_head(config)
        with gr.Column(scale=3, min_width=280):
            drawn = gr.HTML(note("Write a text first."), elem_classes="picture")

    def go_on(
        prompt: str, length: int, temperature: float, top_k: int, top_p: float, seed: int
    ) -> Iterator[str]:
        with mistakes_as_messages():
            sampling = Sampling(
                max_new_tokens=int(length),
                temperature=temperature,
                top_k=int(top_k),
                top_p=top_p,
                seed=int(seed or 0),
            )
            yield from write(run, prompt, sampling)

    def look(text: str, layer: int, head: int) -> str:
        with mistakes_as_messages():
            return text_attention(run, text, layer, None if head < 0 else head)

    asked = [prompt, length, temperature, top_k, top_p, seed]
    writing = gr.on([start.click, prompt.submit], go_on, asked, text, concurrency_id=ONE_AT_A_TIME)
    seen = {"fn": look, "inputs": [text, layer, head], "outputs": drawn}
    writing.success(**seen, concurrency_id=ONE_AT_A_TIME)
    stopped = stop.click(None, cancels=writing)
    stopped.then(**seen, concurrency_id=ONE_AT_A_TIME)
    gr.on([layer.input, head.input], **seen, concurrency_id=ONE_AT_A_TIME)


def introduce(subject: Subject) -> None:
    """Which model it is, and whether it sees what it is to predict."""
    kind: Literal["good", "bad"] = "good" if subject.audit.causal else "bad"
    gr.HTML(
        f"<p class='small'>{html.escape(facts_of(subject))}</p>{note(verdict_on(subject), kind)}"
    )


def choose_head(config: KetformerConfig) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Dropdowns for a layer and a head; -1 is the mean, for None would be no choice."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    mean = "mean of all heads" if heads > 1 else "the only head"
    named = [(mean, -1), *((f"head {i}", i) for i in range(heads) if heads > 1)]
    with gr.Row():
        layer = gr.Dropdown(
            [(f"layer {i}", i) for i in range(layers)], value=layers - 1,
            label="Layer", min_width=120,
        )  # fmt: skip
        return layer, gr.Dropdown(named, value=-1, label="Head", min_width=120)
