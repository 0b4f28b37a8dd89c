"""BibTeX of mechanisms, data sets and Ketformer.

An entry holds only what is known here: of a paper its arXiv number, and so its year, or its DOI.
Authors and title are for arXiv's and DataCite's own exports.
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
_DOI = re.compile(r"10\.\d{4,9}/\S+")


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
    found = {entry.key: entry for name in names for entry in _citations(name)}
    return list(found.values())


def _citations(name: str) -> list[Citation]:
    if name == KETFORMER:
        note = f"Version {version('ketformer')}, {LICENCE}"
        return [Citation(KETFORMER, {"title": TITLE, "author": f"{{{AUTHORS}}}", "note": note})]
    if name in DATASETS:
        data = DATASETS[name]
        package = f"; in the Python package {data.package}" if data.package else ""
        note = in_latex(f"{data.description}{package}; licence: {data.licence}")
        url = {"url": data.url} if data.url else {}
        return [Citation(name, {"title": f"{{{name}}}", "note": note, **url})]
    if name not in ATTENTION:
        known = citable()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise KetformerError(f"unknown name {name!r}; {hint}known: {', '.join(known)}")
    papers = attention_class(name).papers()
    if not papers:
        raise KetformerError(
            f"{name} names no paper; `ketformer cite {KETFORMER}` cites the software"
        )
    entries = [entry for entry in map(_of_paper, papers) if entry]
    if len(entries) < len(papers):  # other words, of another package
        return [Citation(name, {"note": in_latex(", ".join(papers))})]
    return entries


def _of_paper(paper: str) -> Citation | None:
    """The entry of an arXiv number or a DOI; None for anything else."""
    if number := _ARXIV.fullmatch(paper):
        return Citation(
            f"arXiv:{paper}",
            {
                "eprint": paper,
                "archiveprefix": "arXiv",
                "year": f"20{number[1]}",
                "url": f"https://arxiv.org/abs/{paper}",
            },
        )
    if _DOI.fullmatch(paper):
        return Citation(f"doi:{paper}", {"doi": paper, "url": f"https://doi.org/{paper}"})
    return None
