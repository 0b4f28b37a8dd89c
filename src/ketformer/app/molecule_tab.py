"""The tab of a molecule model: request properties, see the molecules, download them."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from ketformer.app import widgets
from ketformer.app.conditions import (
    LISTED,
    RequestableProperty,
    ask,
    counts_html,
    drawings_html,
    requestable_properties,
)
from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages, note, warn
from ketformer.app.opened_runs import Subject
from ketformer.generation import MoleculeSampling

_DEFAULT = MoleculeSampling()
_NUMBER = 100


def molecule_tab(subject: Subject, folder: Path) -> None:
    """Build the tab's widgets and callbacks.

    Args:
        subject: a molecule model.
        folder: where files are kept until the page is closed.
    """
    requestable = requestable_properties(subject.run)
    widgets.introduce(subject)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            if not requestable:
                gr.HTML(note("No targets: this model was trained without properties."))
            elif requestable[0].needed:
                gr.HTML(note("All targets required: this model needs a value for each property."))
            boxes, sliders = [], []
            for prop in requestable:
                box, slider = _controls(prop)
                boxes.append(box)
                sliders.append(slider)
            number = widgets.slider(
                1, 1000, _NUMBER, step=1, label="Number", info="Molecules to sample."
            )
            temperature = widgets.slider(
                0, 2, _DEFAULT.temperature, step=0.05, label="Temperature",
                info="Low is cautious, high is wild; 0 takes the most likely token.",
            )  # fmt: skip
            seed = widgets.number(
                _DEFAULT.seed, label="Seed", info="The same seed gives the same molecules."
            )
            start = gr.Button("Generate", variant="primary")
        with gr.Column(scale=3, min_width=280):
            summary = gr.HTML(note("Choose properties, then press “Generate”."))
            with gr.Row():
                sdf = gr.DownloadButton("Download SDF", interactive=False, min_width=130)
                csv = gr.DownloadButton("Download CSV", interactive=False, min_width=130)
            grid = gr.HTML(elem_classes="molecules")
    gr.Markdown(
        f"### Table\nThe first {LISTED} distinct valid molecules. The CSV file holds every sample, "
        "the SDF file each distinct valid molecule with nine properties."
    )
    table = gr.Dataframe(interactive=False, wrap=False, show_label=False, elem_classes="rows")

    def generate(number: int, temperature: float, seed: int, *targets: Any) -> tuple[Any, ...]:
        with mistakes_as_messages():
            wanted = {
                prop.name: float(value)
                for prop, on, value in zip(
                    requestable,
                    targets[: len(requestable)],
                    targets[len(requestable) :],
                    strict=True,
                )
                if on
            }
            sampling = MoleculeSampling(
                temperature=temperature, seed=int(seed or 0), conditions=wanted
            )
            reply = ask(subject, int(number), sampling, Path(mkdtemp(dir=folder)))
        for text in reply.warnings:
            warn(text)
        return (
            counts_html(reply),
            drawings_html(reply),
            {"headers": reply.columns, "data": reply.rows},
            gr.DownloadButton(value=reply.files.get("sdf"), interactive="sdf" in reply.files),
            gr.DownloadButton(value=reply.files["csv"], interactive=True),
        )

    start.click(
        generate,
        [number, temperature, seed, *boxes, *sliders],
        [summary, grid, table, sdf, csv],
        concurrency_id=ONE_AT_A_TIME,
    )


def _controls(prop: RequestableProperty) -> tuple[gr.Checkbox, gr.Slider]:
    """A checkbox and a slider for a property; moving the slider also ticks the box."""
    with gr.Group():
        box = gr.Checkbox(
            prop.needed, label=f"Request {prop.name}", interactive=not prop.needed, container=True
        )
        slider = widgets.slider(
            prop.low, prop.high, min(max(_rounded(prop), prop.low), prop.high), step=prop.step,
            label=prop.name,
            info=f"{prop.meaning or 'a column of the training data'}; "
            f"trained on {_rounded(prop):g} ± {prop.std:.2g}",
        )  # fmt: skip
    if not prop.needed:
        slider.input(None, None, box, js="() => true")
    return box, slider


def _rounded(prop: RequestableProperty) -> float:
    return round(round(prop.mean / prop.step) * prop.step, 10) + 0.0  # no negative zero
