"""The page of runs and results: its sections and their contents."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ketformer.report.document import write_page
from ketformer.report.sections import SECTIONS
from ketformer.report.sources import studies_of
from ketformer.report.study import Study, checked

_TITLES = {"text": "Text", "molecules": "Molecules"}


@dataclass(frozen=True)
class Report:
    """A written page.

    Attributes:
        path: path of the HTML file.
        sections: titles in order.
        notes: what was left out, and why.
    """

    path: Path
    sections: list[str]
    notes: list[str]


def report_of(
    paths: Sequence[str | Path], out: str | Path | None = None, *, progress: bool = True
) -> Report:
    """Write a page about runs and results.

    Args:
        paths: see :func:`ketformer.report.sources.studies_of`.
        out: the HTML file; by default ``report.html`` in the folder of the first path.
        progress: show bars on standard error.

    Raises:
        KetformerError: there is nothing to report on, or something is broken; nothing is written.
    """
    first = Path(paths[0])
    target = Path(out) if out else (first if first.is_dir() else first.parent) / "report.html"
    return report_on(studies_of(paths, progress=progress), target, progress=progress)


def report_on(studies: list[Study], out: Path, *, progress: bool = True) -> Report:
    """Write a page about studies; arguments and errors are those of :func:`report_of`."""
    title = f"Ketformer: {', '.join(dict.fromkeys(study.name for study in studies))}"
    summary = " ".join(dict.fromkeys(_sentence(study) for study in studies))
    return _write(out, title, summary, studies, progress)


def write_report(path: Path, title: str, summary: str, *results: dict[str, Any]) -> Path:
    """Write a page about fresh results and return its path.

    Args:
        path: path of the HTML file, in the folder of the results.
        title: title of the page.
        summary: a sentence under the title.
        results: results of :func:`ketformer.comparison.run_variants` with a manifest, for
            text, molecules, or one of each.
    """
    studies = [Study(checked(result, path), path.parent) for result in results]
    return _write(path, title, summary, studies, sys.stderr.isatty()).path


def _write(path: Path, title: str, summary: str, studies: list[Study], progress: bool) -> Report:
    notes, parts, contents, sections = [], [], [], []
    for study in studies:  # reports a broken run before a bar is drawn
        study.open_all()
    with tqdm(
        total=len(studies) * len(SECTIONS), desc="report", leave=False, disable=not progress
    ) as bar:
        for number, study in enumerate(studies):
            name = _name(study, studies)
            parts.append(f'<h2 id="part{number}">{html.escape(name)}</h2>')
            contents.append(f'<li class="part">{_link(f"part{number}", name)}</li>')
            if note := _note(study):
                notes.append(note)
                parts.append(f'<p class="note" role="note">{html.escape(note)}</p>')
            for heading, make in SECTIONS.items():
                body = make(study)
                bar.update()
                if not body:
                    continue
                key = f"s{number}-{heading.lower().replace(' ', '-')}"
                parts.append(
                    f'<section aria-labelledby="{key}"><h3 id="{key}">{heading}</h3>'
                    f"{body}</section>"
                )
                contents.append(f"<li>{_link(key, heading)}</li>")
                sections.append(heading if len(studies) == 1 else f"{name}: {heading}")
    nav = f'<nav aria-label="Contents"><ul>{"".join(contents)}</ul></nav>'
    write_page(path, title, summary, "".join(parts), nav)
    return Report(path, sections, notes)


def _link(key: str, words: str) -> str:
    return f'<a href="#{key}">{html.escape(words)}</a>'


def _name(study: Study, studies: list[Study]) -> str:
    """The study's task, with its own name if several studies share the task."""
    alike = [other for other in studies if other.task == study.task]
    title = _TITLES[study.task]
    return f"{title}: {study.name}" if len(alike) > 1 else title


def _sentence(study: Study) -> str:
    settings, seeds = study.result["settings"], study.result.get("seeds")
    data = str(settings.get("data", "unnamed data"))
    several = f", {len(seeds)} seeds" if seeds and len(seeds) > 1 else ""
    names = ", ".join(row["name"] for row in study.rows)
    return f"{names} on {data}{several}."


def _note(study: Study) -> str | None:
    if not study.missing:
        return None
    gone = [name for name in study.missing if name not in study.changed]
    causes = []
    if len(gone) == len(study.rows):
        causes.append("The run directories are missing")
    elif gone:
        causes.append(f"The runs of {', '.join(gone)} are missing")
    if study.changed:
        causes.append(f"The runs of {', '.join(study.changed)} have changed since their numbers")
    return (
        f"{'. '.join(causes)}: sections that need their models and logs (loss curves, attention, "
        "requested properties) are left out."
    )
