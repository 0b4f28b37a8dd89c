"""The tab of a text model: type a prompt, watch the model continue it, see its attention."""

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
    """Build the tab's widgets and callbacks."""
    run = subject.run
    config = run.model.config
    widgets.introduce(subject)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            prompt = widgets.textbox(_PROMPT, label="Prompt", info="The text to continue.", lines=3)
            length = widgets.slider(1, 1000, 200, step=1, label="Length", info="Tokens to write.")
            temperature = widgets.slider(
                0, 2, _DEFAULT.temperature, step=0.05, label="Temperature",
                info="Low is cautious, high is wild; 0 takes the most likely token.",
            )  # fmt: skip
            with gr.Accordion("More options", open=False):
                top_k = widgets.slider(
                    0, min(200, config.vocab_size), 0, step=1, label="Top-k",
                    info="Sample from the k most likely tokens; 0 means all.",
                )  # fmt: skip
                top_p = widgets.slider(
                    0.05, 1, 1, step=0.05, label="Top-p",
                    info="Sample from the most likely tokens that make up this probability.",
                )  # fmt: skip
                seed = widgets.number(
                    _DEFAULT.seed, label="Seed", info="The same seed gives the same text."
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
                f"How much the last tokens of the text (at most {most}) attend to those before "
                "them. Each row is a position and sums to 1. Hover over a cell to see its value."
            )
            layer, head = widgets.choose_head(config)
        with gr.Column(scale=3, min_width=280):
            drawn = gr.HTML(note("Write a text first."), elem_classes="picture")

    def continue_text(
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
    writing = gr.on(
        [start.click, prompt.submit], continue_text, asked, text, concurrency_id=ONE_AT_A_TIME
    )
    seen = {"fn": look, "inputs": [text, layer, head], "outputs": drawn}
    writing.success(**seen, concurrency_id=ONE_AT_A_TIME)
    stopped = stop.click(None, cancels=writing)
    stopped.then(**seen, concurrency_id=ONE_AT_A_TIME)
    # A choice made while a picture is drawn must not be lost.
    chosen = [layer.input, head.input]
    gr.on(chosen, **seen, concurrency_id=ONE_AT_A_TIME, trigger_mode="always_last")
