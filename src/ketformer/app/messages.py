"""Messages of the page."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import gradio as gr

from ketformer.errors import KetformerError

#: Work runs one at a time: all tabs share the models, torch's generator and the cores.
ONE_AT_A_TIME = "model"


@contextmanager
def mistakes_as_messages() -> Iterator[None]:
    """Turn a user's mistake into a one-line message on the page, without a traceback."""
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
    """Show a warning on the page."""
    gr.Warning(html.escape(text), title="Please note")


def note(text: str, kind: Literal["good", "bad", "plain"] = "plain") -> str:
    """A sentence in a box, with the words before its first colon in bold."""
    head, colon, rest = text.partition(":")
    bold = f"<b>{html.escape(head)}{colon}</b>{html.escape(rest)}" if colon else html.escape(text)
    return f'<p class="note {kind}">{bold}</p>'
