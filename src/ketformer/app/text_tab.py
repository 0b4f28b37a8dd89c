"""The tab of a model of text: type a prompt, watch it go on, see what it looks at."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from ketformer.app import widgets
from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages, note
from ketformer.app.opened_runs import Subject
from ketformer.app.texts import DRAWN, text_attention, write
from ketformer.generation import Sampling

_DEFAULT = Sampling()
_PROMPT = "The "


def text_tab(subject: Subject) -> None:
    """Its widgets, and what they do."""
    run = subject.run
    config = run.model.config
    widgets.introduce(subject)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            prompt = widgets.textbox(
                _PROMPT, label="Prompt", info="What the model goes on from.", lines=3
            )
            length = widgets.slider(1, 1000, 200, step=1, label="Length", info="Tokens to write.")
            temperature = widgets.slider(
                0, 2, _DEFAULT.temperature, step=0.05, label="Temperature",
                info="Low is cautious, high is wild; 0 takes the most likely token.",
            )  # fmt: skip
            with gr.Accordion("More choices", open=False):
                top_k = widgets.slider(
                    0, min(200, config.vocab_size), 0, step=1, label="Top-k",
                    info="Choose among the k most likely tokens; 0 is all of them.",
                )  # fmt: skip
                top_p = widgets.slider(
                    0.05, 1, 1, step=0.05, label="Top-p",
                    info="Choose among the most likely tokens that hold this probability.",
                )  # fmt: skip
                seed = widgets.number(
                    _DEFAULT.seed, label="Seed", info="The same gives the same text."
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
            layer, head = widgets.choose_head(config)
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
    # What is chosen while a picture is drawn must not be lost.
    chosen = [layer.input, head.input]
    gr.on(chosen, **seen, concurrency_id=ONE_AT_A_TIME, trigger_mode="always_last")
