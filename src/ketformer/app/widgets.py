"""Controls and descriptions of a model, shared by the tabs."""

from __future__ import annotations

import html
from functools import partial
from typing import Literal

import gradio as gr

from ketformer.app.messages import note
from ketformer.app.opened_runs import Subject
from ketformer.app.texts import facts_of, verdict_on
from ketformer.models import KetformerConfig

# In a page that is rebuilt, Gradio would take a component with a value for an output.
textbox = partial(gr.Textbox, interactive=True)
slider = partial(gr.Slider, interactive=True)
number = partial(gr.Number, interactive=True, precision=0)
dropdown = partial(gr.Dropdown, interactive=True)


def introduce(subject: Subject) -> None:
    """Describe the model, and say whether it sees the tokens it should predict."""
    kind: Literal["good", "bad"] = "good" if subject.audit.causal else "bad"
    gr.HTML(
        f"<p class='small'>{html.escape(facts_of(subject))}</p>{note(verdict_on(subject), kind)}"
    )


def choose_head(config: KetformerConfig) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Dropdowns for a layer and a head; -1 is the mean, since None would be no choice."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    mean = "mean" if heads > 1 else "the only one"
    named = [(mean, -1), *((f"head {i}", i) for i in range(heads) if heads > 1)]
    with gr.Row():
        layer = dropdown(
            [(f"layer {i}", i) for i in range(layers)], value=layers - 1,
            label="Layer", min_width=120,
        )  # fmt: skip
        return layer, dropdown(named, value=-1, label="Head", min_width=120)
