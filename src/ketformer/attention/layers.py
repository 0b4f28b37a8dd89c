"""Which mechanism each layer of a model has: one for all of them, or a list with one for each.

A model of several is a hybrid. Whatever belongs to a mechanism, such as its options, is given as
it is for one mechanism, and by the mechanism's name for a hybrid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ketformer.errors import KetformerError

#: A name in the registry, or one for each layer.
Mechanisms = str | list[str]


def parse_mechanisms(given: Mechanisms) -> Mechanisms:
    """``overlap,classical`` or ``overlap+classical`` as a list; a single name as it is.

    Raises:
        KetformerError: it is neither a text nor a list.
    """
    if isinstance(given, list):
        return given
    if not isinstance(given, str):
        raise KetformerError(f"attention must be a name or one for each layer, got {given!r}")
    names = [name.strip() for name in re.split(r"[,+]", given)]
    return names if len(names) > 1 else given


def name_of(mechanisms: Mechanisms) -> str:
    """How tables and results name them: ``overlap``, or ``overlap+classical``."""
    return mechanisms if isinstance(mechanisms, str) else "+".join(mechanisms)


def is_hybrid(mechanisms: Mechanisms) -> bool:
    """Whether the layers have a mechanism each."""
    return not isinstance(mechanisms, str)


def each_layer(mechanisms: Mechanisms, layers: int) -> list[str]:
    """The mechanism of each layer, by name."""
    return [mechanisms] * layers if isinstance(mechanisms, str) else list(mechanisms)


def distinct(mechanisms: Mechanisms) -> list[str]:
    """The names, each once, in the order of the layers."""
    return list(dict.fromkeys(each_layer(mechanisms, 1)))


def by_name(mechanisms: Mechanisms, given: Any) -> dict[str, Any]:
    """What is given for each mechanism, by its name; nothing for one that has none."""
    if not given:
        return {}
    return {mechanisms: given} if isinstance(mechanisms, str) else dict(given)


def options_by_name(mechanisms: Mechanisms, options: Any) -> dict[str, dict[str, Any]]:
    """The options of each distinct mechanism."""
    given = by_name(mechanisms, options)
    return {name: dict(given.get(name) or {}) for name in distinct(mechanisms)}


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """``{"overlap.n_qubits": 4}``, or with a colon, as ``{"overlap": {"n_qubits": 4}}``."""
    out: dict[str, Any] = {}
    for key, value in options.items():
        name, *option = re.split(r"[.:]", key, maxsplit=1)
        if option:
            own = out.get(name)
            out[name] = {**(own if isinstance(own, dict) else {}), option[0]: value}
        else:
            out[name] = value
    return out


def as_given(mechanisms: Mechanisms, named: Mapping[str, Any]) -> Any:
    """The inverse of :func:`by_name`; None where there is nothing."""
    return named.get(mechanisms) if isinstance(mechanisms, str) else dict(named) or None
