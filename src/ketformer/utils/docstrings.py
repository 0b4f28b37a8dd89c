"""Help texts of options, read from docstrings."""

from __future__ import annotations

import docstring_parser


def docstring_arguments(docstring: str | None) -> dict[str, str]:
    """The description of each name in a docstring's Args or Attributes section.

    Each is on one line, without markup, and escaped for argparse.
    """
    texts = {
        p.arg_name: p.description or "" for p in docstring_parser.parse(docstring or "").params
    }
    return {
        key: " ".join(text.split()).replace("``", "").replace("%", "%%")
        for key, text in texts.items()
    }


def first_sentence(text: str) -> str:
    """The first sentence of a help text, without its full stop, escaped for argparse."""
    return text.split(". ")[0].rstrip(".").replace("%", "%%")
