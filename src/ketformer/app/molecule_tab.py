"""The tab of a model of molecules: wish for properties, see what comes, take it home."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr

from ketformer.app import widgets
from ketformer.app.conditions import LISTED, Wish, ask, counts_html, drawings_html, wishes_of
from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages, note, warn
from ketformer.app.opened_runs import Subject
from ketformer.generation import MoleculeSampling

_DEFAULT = MoleculeSampling()
_NUMBER = 100


def molecule_tab(subject: Subject, folder: Path) -> None:
    """Its widgets, and what they do.

    Args:
        subject: a model of molecules.
        folder: where the files lie until the page is closed.
    """
    wishes = wishes_of(subject.run)
    widgets.introduce(subject)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            if not wishes:
                gr.HTML(note("No targets: this model was trained without properties."))
            elif wishes[0].needed:
                gr.HTML(note("All targets: this model needs a value for each property."))
            boxes, sliders = [], []
            for wish in wishes:
                box, slider = _controls(wish)
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
                _DEFAULT.seed, label="Seed", info="The same gives the same molecules."
            )
            start = gr.Button("Generate", variant="primary")
        with gr.Column(scale=3, min_width=280):
            summary = gr.HTML(note("Choose what you want, then press “Generate”."))
            with gr.Row():
                sdf = gr.DownloadButton("Download SDF", interactive=False, min_width=130)
                csv = gr.DownloadButton("Download CSV", interactive=False, min_width=130)
            grid = gr.HTML(elem_classes="molecules")
    gr.Markdown(
        f"### Table\nThe first {LISTED} distinct valid molecules. The CSV holds every sample, the "
        "SDF each distinct valid molecule with nine properties."
    )
    table = gr.Dataframe(interactive=False, wrap=False, show_label=False, elem_classes="rows")

    def generate(number: int, temperature: float, seed: int, *targets: Any) -> tuple[Any, ...]:
        with mistakes_as_messages():
            wanted = {
                wish.name: float(value)
                for wish, on, value in zip(
                    wishes, targets[: len(wishes)], targets[len(wishes) :], strict=True
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


def _controls(wish: Wish) -> tuple[gr.Checkbox, gr.Slider]:
    """Moving the slider is a request too."""
    with gr.Group():
        box = gr.Checkbox(
            wish.needed, label=f"Request {wish.name}", interactive=not wish.needed, container=True
        )
        slider = widgets.slider(
            wish.low, wish.high, min(max(_rounded(wish), wish.low), wish.high), step=wish.step,
            label=wish.name,
            info=f"{wish.meaning or 'a column of the training data'}; "
            f"trained on {_rounded(wish):g} ± {wish.std:.2g}",
        )  # fmt: skip
    if not wish.needed:
        slider.input(None, None, box, js="() => true")
    return box, slider


def _rounded(wish: Wish) -> float:
    return round(round(wish.mean / wish.step) * wish.step, 10) + 0.0  # no negative zero
