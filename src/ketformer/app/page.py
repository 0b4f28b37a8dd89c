"""The page: a tab for each kind of model, and its style."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

from ketformer.app import widgets
from ketformer.app.circuit_tab import circuit_tab
from ketformer.app.messages import ONE_AT_A_TIME, mistakes_as_messages
from ketformer.app.molecule_tab import molecule_tab
from ketformer.app.opened_runs import Subject, names_of, open_subject
from ketformer.app.text_tab import text_tab

_SYSTEM = ["system-ui", "sans-serif"]
_MONO = ["ui-monospace", "monospace"]

#: Only system fonts: the page must load nothing from the network.
THEME = gr.themes.Default(primary_hue="blue", font=_SYSTEM, font_mono=_MONO).set(
    block_info_text_color="*neutral_500",  # Gradio's own is too pale to read
    block_info_text_color_dark="*neutral_300",
    checkbox_border_color_dark="*neutral_400",  # an empty box would be invisible
)

CSS = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto; }
.title h1 { font-size: 1.6rem; margin: .2rem 0; }
.note { padding: .6rem .8rem; border-left: 4px solid #8888; background: #8881; border-radius: 4px;
  margin: 0; }
.note.good { border-color: #1f8a4c; background: #1f8a4c1a; }
.note.bad { border-color: #d1382c; background: #d1382c22; }
.html-container { padding: 0 !important; }
.written textarea { font-family: ui-monospace, monospace; }
table.facts { border-collapse: collapse; border: 0 !important; margin: 0 0 1rem;
  font-variant-numeric: tabular-nums; }
table.facts tr { border: 0 !important; background: none !important; }
table.facts th, table.facts td { padding: .25rem .8rem .25rem 0; text-align: left;
  border: 0 !important; border-bottom: 1px solid #8884 !important; vertical-align: top; }
table.facts td { text-align: right; } table.facts td.words { text-align: left; }
table.facts thead th + th { text-align: right; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: .8rem; }
.grid figure { border: 1px solid #8884; border-radius: 8px; overflow: hidden; }
.grid figcaption { padding: .3rem .5rem; overflow-wrap: anywhere; }
.three { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 1rem; }
figure { margin: 0; } figure svg { max-width: 100%; height: auto; }
.small, figcaption { font-size: .85rem; opacity: .8; }
.circuit .wide { overflow-x: auto; } .circuit .wide svg { max-width: none; }
"""


def build_page(paths: Sequence[Path], folder: Path) -> gr.Blocks:
    """Build the page for some runs; the user can open others.

    Args:
        paths: run directories that can be opened.
        folder: where files to download are kept until the page is closed.
    """
    page = gr.Blocks(title="Ketformer", analytics_enabled=False)
    with page:
        gr.Markdown(
            "# Ketformer\nTry trained models with quantum and quantum-inspired attention: let them "
            "write, look at what they attend to, and run their circuits.",
            elem_classes="title",
        )
        shown = gr.State([str(path) for path in paths])

        def tabs(paths: list[str]) -> None:
            with mistakes_as_messages():  # one may be in training again
                subjects = [open_subject(path) for path in paths]
            kinds: list[tuple[str, list[Subject], Callable[[Subject], None]]] = [
                ("Text", [s for s in subjects if not s.is_molecules], text_tab),
                (
                    "Molecules",
                    [s for s in subjects if s.is_molecules],
                    lambda subject: molecule_tab(subject, folder),
                ),
                ("Circuits", subjects, circuit_tab),
            ]
            kinds = [kind for kind in kinds if kind[1]]
            # With an id each, the selected tab stays selected when the tabs are rebuilt.
            with gr.Tabs(selected=kinds[0][0]):
                for title, those, build in kinds:
                    with gr.Tab(title, id=title):
                        _each(those, build)

        gr.render(inputs=shown, concurrency_id=ONE_AT_A_TIME, concurrency_limit=1)(tabs)
        with gr.Accordion("Open another run", open=False):
            given = widgets.textbox(
                label="Run directory", placeholder="runs/mine",
                info="A folder made by `ketformer train`, on the machine that serves the page.",
            )  # fmt: skip
            button = gr.Button("Open")

        def open_another(path: str, paths: list[str]) -> list[str]:
            with mistakes_as_messages():
                opened = str(open_subject(path).run.path)
            gr.Info(f"{html.escape(opened)} is open.", title="Opened")
            return paths if opened in paths else [*paths, opened]

        gr.on(
            [button.click, given.submit], open_another, [given, shown], shown,
            concurrency_id=ONE_AT_A_TIME,
        )  # fmt: skip
    return page


def _each(subjects: list[Subject], build: Callable[[Subject], None]) -> None:
    """Build one model directly, several in a tab each."""
    if len(subjects) == 1:
        build(subjects[0])
        return
    names = names_of(subjects)
    with gr.Tabs(selected=names[0]):
        for name, subject in zip(names, subjects, strict=True):
            with gr.Tab(name, id=name):
                build(subject)
