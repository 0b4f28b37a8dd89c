"""What the page says besides its results."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import gradio as gr

from ketformer.errors import KetformerError

#: One thing at a time: models, torch's generator and the cores are shared by all tabs.
ONE_AT_A_TIME = "model"


@contextmanager
def mistakes_as_messages() -> Iterator[None]:
    """A mistake becomes a message on the page: one line, and no traceback anywhere."""
    try:
        yield
    except KetformerError as error:
        raise _message(" ".join(str(error).split())) from None
    except MemoryError:
        raise _message("not enough memory") from None
    except OSError as error:
        raise _message(f"{error.strerror or error}: {error.filename or ''}".strip(": ")) from None


def _message(text: str) -> gr.Error:
    return gr.Error(html.escape(text), title="This did not work", print_exception=False)


def warn(text: str) -> None:
    """A warning on the page."""
    gr.Warning(html.escape(text), title="Please note")


def note(text: str, kind: Literal["good", "bad", "plain"] = "plain") -> str:
    """A sentence in a box; the word before its first colon is set bold."""
    head, colon, rest = text.partition(":")
    bold = f"<b>{html.escape(head)}{colon}</b>{html.escape(rest)}" if colon else html.escape(text)
    return f'<p class="note {kind}">{bold}</p>'
