"""Griffe extension: turn Sphinx roles in the docstrings of the API pages into links."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|meth|func|data|attr|mod):`(~?)([^`<]+?)(?:\s*<([^`>]+)>)?`")


class Roles(Extension):
    """Shows ``:class:`~ketformer.quantum.Noise``` as `Noise`, linked if it has an entry."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrites the object's docstring in place."""
        if obj.docstring is None:
            return
        scope = obj.parent.path if obj.parent is not None else obj.path

        def link(role: re.Match[str]) -> str:
            target = role[3] or role[2]
            shown = role[2].rpartition(".")[2] if role[1] else role[2]
            target = target if target.startswith("ketformer.") else f"{scope}.{target}"
            return f'<autoref optional identifier="{target}">`{shown}`</autoref>'

        obj.docstring.value = _ROLE.sub(link, obj.docstring.value)
