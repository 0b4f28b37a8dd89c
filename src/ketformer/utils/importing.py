"""The user's own Python objects, named on the command line as ``package.module:name``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from ketformer.errors import KetformerError, one_line


def import_target(target: str, option: str, form: str = "package.module:name") -> Any:
    """The object that ``package.module:name`` names, installed or in the current folder.

    Args:
        target: may have dots after the colon, for attributes of attributes.
        option: what the user gave it to, for the message.
        form: how to write it, for the message.

    Raises:
        KetformerError: it is written otherwise, or importing it fails.
    """
    module, colon, attributes = target.partition(":")
    if not (module and colon and attributes):
        raise KetformerError(f"{option} {target}: write it as {form}")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except Exception as error:  # the user's code may raise anything
        raise KetformerError(f"{option} {target}: {one_line(error)}") from error
    return found
