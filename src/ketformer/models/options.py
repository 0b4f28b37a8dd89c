"""Whether the options of a mechanism have the types that it declares."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from ketformer.attention import Attention, attention_class


def check_option_types(attention: str, options: Mapping[str, Any]) -> None:
    """Refuse a value of another type than the mechanism declares.

    Args:
        attention: a name of the registry.
        options: known to be options of that mechanism.

    Raises:
        ValueError: naming the option and what was expected.
    """
    hints: dict[str, Any] = {}
    for cls in reversed(attention_class(attention).__mro__):
        if issubclass(cls, Attention) and "__init__" in vars(cls):
            hints |= typing.get_type_hints(cls.__init__)
    for key, value in options.items():
        if not _fits(value, hints[key]):
            wanted = name_of_type(hints[key])
            raise ValueError(f"{attention}: option {key} must be {wanted}, got {value!r}")


def name_of_type(hint: Any) -> str:
    """A type as a person would say it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(name_of_type(arg) for arg in typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if hint is type(None):
        return "null"
    return getattr(hint, "__name__", str(hint))


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, arg) for arg in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint)
