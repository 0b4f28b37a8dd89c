"""Safe reading of untrusted YAML and JSON: plain values only, of limited size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ketformer.errors import KetformerError

# Far more than a run needs: settings take some kilobytes, a vocabulary of 50,000 some megabytes.
_LARGEST = {"YAML": 1 << 20, "JSON": 1 << 26}
_DEEPEST = 20


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of text keys to plain values from a file.

    Tags create no objects. Duplicate keys are refused, and so are aliases: a few lines of
    them can expand to more than any memory holds.

    Raises:
        KetformerError: the file is missing, broken, too large or not a mapping.
    """
    text = _text(path, "YAML")
    try:
        content = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 30 February, say
        raise _broken(path, error) from None
    if not isinstance(content, dict):
        raise KetformerError(f"{path}: expected a mapping of keys to values")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        KetformerError: the file is missing, broken, too large or not an object.
    """
    text = _text(path, "JSON")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(path, error) from None
    if not isinstance(content, dict):
        raise KetformerError(f"{path}: expected a JSON object")
    return content


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses aliases, deep nesting, duplicate keys and keys that are not text."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._refuse("aliases are not allowed", event.start_mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            self._refuse(f"nested deeper than {_DEEPEST} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                self._refuse("a key must be text", key.start_mark)
            if key.value in seen:
                self._refuse(f"the key {key.value[:60]!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        value: int = super().construct_yaml_int(node)
        if abs(value) >= 2**63:  # Python refuses to print integers of thousands of digits
            self._refuse("a whole number must fit into 64 bits", node.start_mark)
        return value

    def _refuse(self, what: str, where: Any) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, what, where)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def _text(path: Path, kind: str) -> str:
    if not path.is_file():
        raise KetformerError(f"{path}: no such file")
    if (size := path.stat().st_size) > _LARGEST[kind]:
        raise KetformerError(
            f"{path}: too large ({size:,} bytes; {_LARGEST[kind]:,} at most for {kind})"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> KetformerError:
    return KetformerError(f"{path}: {' '.join(str(error).split())[:300]}")
