"""The tab of a model's circuits: what shots and noise do to its attention."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from ketformer.app import widgets
from ketformer.app.circuits import (
    LONGEST,
    NOISE,
    SHOTS,
    Measured,
    backends,
    drawings,
    maps,
    measure,
    numbers_html,
)
from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages, note
from ketformer.app.opened_runs import Subject
from ketformer.errors import NotOfferedError

_TEXT, _SMILES = "the name", "CC(=O)N"


def circuit_tab(subject: Subject) -> None:
    """Build the tab's widgets and callbacks; for a classical model, a line saying so."""
    if not subject.has_circuits:
        gr.HTML(note(f"No circuits: {subject.attention} attention is classical."))
        return
    try:
        pictures = drawings(subject)
    except NotOfferedError as error:  # not every score can be measured
        gr.HTML(note(f"No circuits: {error}."))
        return
    run = subject.run
    widgets.introduce(subject)
    gr.Markdown("### Attention with shots and noise\n" + _what_is_measured(subject))
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            given = widgets.textbox(
                _SMILES if subject.is_molecules else _TEXT,
                label="Molecule (SMILES)" if subject.is_molecules else "Text",
                info=f"At most {LONGEST} tokens.",
            )
            shots = widgets.dropdown(
                list(SHOTS), value="1,000", label="Shots", info="For each circuit."
            )
            noise = widgets.dropdown(
                list(NOISE), value="none", label="Noise", info="Gate and readout errors."
            )
            backend = widgets.dropdown(
                list(backends()), value=next(iter(backends())), label="Backend",
                info="Others appear here when their packages are installed.",
            )  # fmt: skip
            layer, head = widgets.choose_head(run.model.config)
            seed = widgets.number(0, label="Seed", info="For the shots.")
            start = gr.Button("Run the circuits", variant="primary")
        with gr.Column(scale=3, min_width=280):
            numbers = gr.HTML(note("Press “Run the circuits”."))
            drawn = gr.HTML(elem_classes="picture")
    kept = gr.State()
    gr.Markdown(
        f"### The circuit of `{subject.attention}`\nAs run by the first head of the first layer "
        "that has it; its angles come from the tokens and from training."
    )
    for picture in pictures:
        gr.HTML(
            f"<figure><div class='wide'>{picture.svg}</div>"
            f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>",
            elem_classes="circuit",
        )

    def run_circuits(text: str, shots: str, noise: str, backend: str, seed: int) -> Measured:
        with mistakes_as_messages():
            return measure(
                run,
                text,
                backend=backends()[backend],
                shots=SHOTS[shots],
                noise=NOISE[noise],
                seed=int(seed or 0),
            )

    def show(found: Measured | None, layer: int, head: int) -> tuple[Any, Any]:
        if found is None:
            return gr.skip(), gr.skip()
        three = "".join(f"<figure>{svg}</figure>" for svg in maps(found, layer, _none(head)))
        facts = numbers_html(found, layer, _none(head), subject.audit.causal)
        return facts, f'<div class="three">{three}</div>'

    measuring = start.click(
        run_circuits, [given, shots, noise, backend, seed], kept, concurrency_id=ONE_AT_A_TIME
    )
    measuring.success(show, [kept, layer, head], [numbers, drawn])
    # A choice made while pictures are drawn must not be lost.
    chosen = [layer.input, head.input]
    gr.on(chosen, show, [kept, layer, head], [numbers, drawn], trigger_mode="always_last")


def _none(head: int) -> int | None:
    return None if head < 0 else head


def _what_is_measured(subject: Subject) -> str:
    if not subject.measures_scores:
        return (
            f"Each circuit runs with the shots and noise you choose. In `{subject.attention}`, "
            "circuits give the values, not the scores: the weights of layer 0 cannot change, but "
            "those of later layers do because their input changes."
        )
    return (
        f"Each circuit runs with the shots and noise you choose. In `{subject.attention}`, the "
        "scores come from circuits, so the weights of every layer change."
    )
