"""What a module declares, read from its source: to import it may take seconds.

A target is written ``"module:NAME"``. Whatever takes one raises a LookupError if there is no such
package or name, and an OSError if the module has no source that can be read.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal


def constant(target: str) -> Any:
    """A constant of a module; of a dictionary, its keys."""
    module, _, name = target.partition(":")
    value = _assigned(_statements(module))[name]
    if isinstance(value, ast.Dict):
        return tuple(ast.literal_eval(key) for key in value.keys if key)
    return ast.literal_eval(value)


def class_constant(target: str, name: str) -> Any:
    """The constant that a class itself assigns to a name; None if it does not."""
    value = _assigned(_definition(target).body).get(name)
    return None if value is None else ast.literal_eval(value)


def class_docstring(target: str) -> str | None:
    """A class's docstring."""
    return ast.get_docstring(_definition(target))


def field_types(target: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The type of each public field that a dataclass itself has, as on a command line.

    Args:
        target: the dataclass.
        names: what the annotations name besides Python's own types, ``Any`` and ``Literal``.
            Another name is that of an enumeration, which a command line has as text.
    """
    known = {"Any": Any, "Literal": Literal, **names}
    return {name: _type(field.annotation, known) for name, field in _fields(target).items()}


def field_defaults(target: str) -> dict[str, Any]:
    """The default of each of those fields whose default is a constant."""
    return {
        name: field.value.value
        for name, field in _fields(target).items()
        if isinstance(field.value, ast.Constant)
    }


def field_helps(target: str) -> dict[str, str]:
    """The ``help`` in the metadata of those of the fields that have one."""
    return {
        name: ast.literal_eval(value)
        for name, field in _fields(target).items()
        for node in ast.walk(field)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "help"
    }


def _type(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The type that an annotation writes; nothing is executed."""
    match node:
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, names)
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name):
            return names.get(name, getattr(builtins, name, str))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left, names) | _type(right, names)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inside):
            return Literal[ast.literal_eval(inside)]
        case ast.Subscript(value=value, slice=ast.Tuple(elts=inside)):
            return _type(value, names)[tuple(_type(each, names) for each in inside)]
        case ast.Subscript(value=value, slice=inside):
            return _type(value, names)[_type(inside, names)]
    raise LookupError(f"{ast.unparse(node)} is no type that a command line has")


@lru_cache
def _statements(module: str) -> list[ast.stmt]:
    package, *inside = module.split(".")
    spec = find_spec(package)  # of a module in it, this would import the package
    if spec is None or spec.origin is None:
        raise LookupError(f"{package} is not installed")
    file = Path(spec.origin).parent.joinpath(*inside).with_suffix(".py")
    return ast.parse(file.read_bytes()).body


def _definition(target: str) -> ast.ClassDef:
    module, _, name = target.partition(":")
    for node in _statements(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{module} has no class {name}")


def _fields(target: str) -> dict[str, ast.AnnAssign]:
    return {
        node.target.id: node
        for node in _definition(target).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not node.target.id.startswith("_")
    }


def _assigned(statements: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    """The expression that is assigned to each name."""
    return {
        place.id: node.value
        for node in statements
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for place in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(place, ast.Name)
    }
