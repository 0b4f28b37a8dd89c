"""MkDocs hooks that convert mathematics, and links that leave docs/.

Pages are written for GitHub first. There, formulas stand between dollar signs, and links such as
`../results/fuzz.json` lead out of docs/. Here, formulas become MathML, which browsers render
natively, and such links lead to files of the site.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")
_MATHEMATICS = re.compile(
    r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the changelog as a page, and the results and examples that pages link to."""
    files.append(
        File.generated(config, "changelog.md", content=(ROOT / "CHANGELOG.md").read_text())
    )
    for path in sorted([*ROOT.glob("results/*.json"), *ROOT.glob("examples/*.py")]):
        uri = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Makes links that lead out of docs/ on GitHub lead to files of the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def inside(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if target.startswith("docs/"):
            return link[0]
        target = "changelog.md" if target == "CHANGELOG.md" else target
        return link[1] + posixpath.relpath(target, folder or ".")

    return _LINK.sub(inside, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Converts TeX to MathML, and keeps a mean on one line with its interval."""
    return _MATHEMATICS.sub(
        lambda found: convert(
            html.unescape(found[2]).strip(), display="inline" if found[1] == "span" else "block"
        ),
        content.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"),
    )
