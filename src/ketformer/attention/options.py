"""Options in an arm's name, and a check that they have the types that a mechanism declares."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ketformer.errors import KetformerError

if TYPE_CHECKING:
    from torch import nn


def listed_options(arm: str) -> dict[str, Any]:
    """The options in ``name:option=value,...``.

    Raises:
        KetformerError: one of them is written otherwise.
    """
    options = {}
    for part in filter(None, (part.strip() for part in arm.partition(":")[2].split(","))):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not text:
            raise KetformerError(f"{arm!r}: options are written name:option=value, got {part!r}")
        options[key] = option_value(text)
    return options


def option_value(text: str) -> Any:
    """A number, true, false or null as JSON has them; anything else is a word."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str | list | dict) else value


def check_option_types(name: str, cls: type[nn.Module], options: Mapping[str, Any]) -> None:
    """Refuse a value whose type is not the one that the class declares.

    Args:
        name: name of the mechanism or layer, for the message.
        cls: its class.
        options: values by name; the names must be its options.

    Raises:
        KetformerError: naming the option and the expected type.
    """
    from torch import nn  # takes a second; the names of the mechanisms need it not

    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, nn.Module) and "__init__" in vars(base):
            hints |= typing.get_type_hints(base.__init__)
    for key, value in options.items():
        if key in hints and not _fits(value, hints[key]):
            wanted = name_of_type(hints[key])
            raise KetformerError(f"{name}: option {key} must be {wanted}, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise KetformerError(f"{name}: option {key} must be finite, got {value}")


def name_of_type(hint: Any) -> str:
    """A readable name for a type."""
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
        return isinstance(value, int | float)
    return isinstance(value, hint)
