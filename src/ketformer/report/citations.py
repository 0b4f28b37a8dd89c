"""BibTeX of mechanisms, data sets and Ketformer.

An entry holds only what is known here: of a paper its arXiv number, and so its year. Authors and
title are for arXiv's own export.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from ketformer.attention import ATTENTION, attention_class
from ketformer.comparison.formats import in_latex
from ketformer.errors import KetformerError
from ketformer.tasks.datasets import DATASETS

#: The name of Ketformer's own entry; its facts are those of CITATION.cff.
KETFORMER = "ketformer"
TITLE = "Ketformer: quantum and quantum-inspired self-attention for generative transformers"
AUTHORS = "The Ketformer developers"
LICENCE = "Apache-2.0"

_ARXIV = re.compile(r"(\d\d)(\d\d)\.\d{4,5}")


@dataclass(frozen=True)
class Citation:
    """A BibTeX entry of type ``misc``.

    Attributes:
        key: its key, unique.
        fields: its fields, escaped for LaTeX.
    """

    key: str
    fields: dict[str, str]

    def bibtex(self) -> str:
        """The entry as text."""
        wide = max(map(len, self.fields))
        lines = (f"  {name:<{wide}} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@misc{{{self.key},\n{''.join(lines)}}}\n"


def citable() -> list[str]:
    """Every name that has an entry: Ketformer, data sets, and mechanisms that name a paper."""
    return [KETFORMER, *DATASETS, *(name for name, cls in ATTENTION.loaded() if cls.paper)]


def citations(names: Sequence[str]) -> list[Citation]:
    """The entries of these names, each once.

    Args:
        names: ``ketformer``, data sets and mechanisms.

    Raises:
        KetformerError: an unknown name, or a mechanism that names no paper.
    """
    found = {entry.key: entry for entry in map(_citation, names)}
    return list(found.values())


def _citation(name: str) -> Citation:
    if name == KETFORMER:
        note = f"Version {version('ketformer')}, {LICENCE}"
        return Citation(KETFORMER, {"title": TITLE, "author": f"{{{AUTHORS}}}", "note": note})
    if name in DATASETS:
        data = DATASETS[name]
        note = in_latex(f"{data.description}; licence: {data.licence}")
        url = {"url": data.url} if data.url else {}
        return Citation(name, {"title": f"{{{name}}}", "note": note, **url})
    if name not in ATTENTION:
        known = citable()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise KetformerError(f"unknown name {name!r}; {hint}known: {', '.join(known)}")
    paper = attention_class(name).paper
    if not paper:
        raise KetformerError(
            f"{name} names no paper; `ketformer cite {KETFORMER}` cites the software"
        )
    if not (number := _ARXIV.fullmatch(paper)):  # of another package
        return Citation(name, {"note": in_latex(paper)})
    return Citation(
        f"arXiv:{paper}",
        {
            "eprint": paper,
            "archiveprefix": "arXiv",
            "year": f"20{number[1]}",
            "url": f"https://arxiv.org/abs/{paper}",
        },
    )
