"""The document around what a page says: its style and head; nothing is fetched or run."""

from __future__ import annotations

import html
from pathlib import Path

from ketformer.report.style import CSS
from ketformer.utils.files import write_text

# Makes the browser refuse scripts and anything outside the file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_page(path: Path, title: str, summary: str, body: str, nav: str = "") -> None:
    """Write one self-contained HTML file.

    Args:
        path: path of the file.
        title: plain text.
        summary: a sentence under the title, plain text.
        body: HTML.
        nav: a ``<nav>`` element, if there is one.
    """
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head>\n<body>"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(summary)}</p></header>\n"
        f"{nav}\n"
        f"<main>{body}</main></body></html>\n"
    )
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))
