"""Reference files of mechanisms: reading them, and what the adapters beside this file share.

An adapter ``NAME.py`` belongs to the files whose ``mechanism`` is NAME. It has one function,
``outputs(case)``, that returns tensors by the names that the file's outputs have, and may have a
``TOLERANCE`` of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.attention import Attention
from ketformer.attention.scores import reference_scores
from ketformer.errors import KetformerError

_GROUPS = ("inputs", "parameters", "outputs")


class Tensors(dict[str, Tensor]):
    """Tensors of a case by name, float64 or complex128; a missing one is a user's mistake."""

    def __init__(self, where: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.where = where

    def __missing__(self, name: str) -> Tensor:
        raise KetformerError(f"{self.where} has no {name!r}; it has: {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class Case:
    """One case of a file.

    Attributes:
        where: the file and the case, for messages.
        name: its name.
        config: sizes and options.
        inputs: tensors by name, as are the others.
        parameters: the mechanism's weights and angles.
        outputs: what it computes.
    """

    where: str
    name: str
    config: dict[str, Any]
    inputs: Tensors
    parameters: Tensors
    outputs: Tensors

    def size(self, key: str) -> int:
        """A positive whole number of the configuration.

        Raises:
            KetformerError: there is none of that name.
        """
        value = self.config.get(key)
        if type(value) is not int or value < 1:
            raise KetformerError(
                f"{self.where}: config {key!r} must be a positive whole number, got {value!r}"
            )
        return value

    def choice(self, key: str, choices: tuple[Any, ...]) -> Any:
        """A value of the configuration that must be one of these.

        Raises:
            KetformerError: it is not.
        """
        value = self.config.get(key)
        if not any(type(value) is type(known) and value == known for known in choices):
            known = ", ".join(map(repr, choices))
            raise KetformerError(
                f"{self.where}: config {key!r} must be one of {known}, got {value!r}"
            )
        return value


def read_cases(path: str | Path) -> tuple[str, list[Case]]:
    """The mechanism and the cases of a reference file.

    Raises:
        KetformerError: it cannot be read or is not of the format, with the first thing wrong.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        content = json.loads(text)
    except OSError as error:
        raise KetformerError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise KetformerError(f"{path}: its lists are nested too deeply") from None
    except ValueError as error:
        raise KetformerError(f"{path}: not a whole JSON file: {error}") from None
    if not isinstance(content, dict) or content.get("format") != 1:
        raise KetformerError(f'{path}: not a reference file: it must be an object with "format": 1')
    mechanism, cases = content.get("mechanism"), content.get("cases")
    if not isinstance(mechanism, str):
        raise KetformerError(f"{path}: 'mechanism' must be a name, got {mechanism!r}")
    if not isinstance(cases, list) or not cases:
        raise KetformerError(f"{path}: 'cases' must be a list of at least one case")
    return mechanism, [_case(str(path), i, case) for i, case in enumerate(cases)]


def _case(path: str, index: int, given: Any) -> Case:
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise KetformerError(f"{path}: case {index} must be an object with a name")
    where = f"{path}: case {given['name']}"
    for key in ("config", *_GROUPS):
        if not isinstance(given.get(key), dict):
            raise KetformerError(f"{where}: {key!r} must be an object")
    if not given["outputs"]:
        raise KetformerError(f"{where}: it has no outputs to compare with")
    groups = (
        Tensors(
            f"{where}: {group}",
            {name: _tensor(f"{where}: {name}", array) for name, array in given[group].items()},
        )
        for group in _GROUPS
    )
    return Case(where, given["name"], given["config"], *groups)


def _tensor(where: str, array: Any) -> Tensor:
    """``{shape, real, imag?}`` as a tensor."""
    shape = array.get("shape") if isinstance(array, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise KetformerError(f"{where}: an array needs a 'shape' of positive whole numbers")
    parts = []
    for part in ("real", "imag"):
        if part == "imag" and part not in array:
            continue
        numbers = list(_numbers(f"{where}: {part!r}", array.get(part), shape))
        parts.append(torch.tensor(numbers, dtype=torch.float64).reshape(shape))
    return parts[0] if len(parts) == 1 else torch.complex(*parts)


def _numbers(where: str, nested: Any, shape: list[int]) -> Iterator[float]:
    """The numbers of a nested list, after checking its shape and that they are finite."""
    if shape:
        if not isinstance(nested, list) or len(nested) != shape[0]:
            raise KetformerError(f"{where} does not have the shape that the file says")
        for inner in nested:
            yield from _numbers(where, inner, shape[1:])
        return
    try:
        number = math.nan if isinstance(nested, bool | str) else float(nested)
    except (TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise KetformerError(f"{where} must hold finite numbers in the file's shape")
    yield number


# --- What adapters do --------------------------------------------------------------------------


def load(name: str, parameter: Tensor, value: Tensor) -> None:
    """Set a parameter, or a view of a part of one.

    Raises:
        KetformerError: the shapes differ, which ``copy_`` might broadcast.
    """
    if parameter.shape != value.shape:
        raise KetformerError(
            f"{name} has shape {list(value.shape)}; the case's sizes need {list(parameter.shape)}"
        )
    parameter.copy_(value)


def set_identity(linear: nn.Linear) -> None:
    """Make a square linear map the identity, where the original has no such map."""
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)


def mask_of(length: int, *, causal: bool) -> Tensor:
    """The mask ``[1, 1, T, T]`` of a causal or of a bidirectional case."""
    mask = torch.ones(1, 1, length, length, dtype=torch.bool)
    return mask.tril() if causal else mask


def scores_of(attention: Attention, queries: Tensor, keys: Tensor) -> Tensor:
    """The scores ``[1, H, T, T]`` of queries and keys before the mask."""
    scale = attention.dot_scale(queries.shape[-1])
    return reference_scores(attention.score, queries, keys, attention.temperature, scale)
