"""Shared by the conformance suites: checks, their findings, and when two numbers count as equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from ketformer.errors import NotOfferedError

#: Units in the last place that rounding may add up to, see :func:`rounding`.
STEPS = 64


class MismatchError(AssertionError):
    """A wrong result; ``largest`` is the largest difference, NaN if there is no such number."""

    def __init__(self, message: str, largest: float = math.nan) -> None:
        super().__init__(message)
        self.largest = largest


@dataclass(frozen=True)
class Check:
    """One requirement; calling it with a subject raises :class:`MismatchError` if it is not met.

    If the subject raises ``NotOfferedError``, the check raises ``unittest.SkipTest``, which pytest
    reports as a skip.
    """

    name: str
    body: Callable[..., Iterator[float]]

    def __str__(self) -> str:
        return self.name

    def __call__(self, *subject: Any, **options: Any) -> float:
        """The largest difference: absolute, or in standard errors for sampled numbers."""
        try:
            return max(self.body(*subject, **options), default=0.0)
        except NotOfferedError as error:
            raise SkipTest(str(error)) from None


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: the check's name.
        outcome: ``passed``, ``failed``, or ``not offered``.
        largest: the largest difference: absolute, or in standard errors for sampled numbers.
        message: what is wrong or not offered; empty if the check passed.
    """

    name: str
    outcome: str
    largest: float = math.nan
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the check did not fail."""
        return self.outcome != "failed"


def findings(checks: Iterable[Check], *subject: Any, **options: Any) -> list[Finding]:
    """Run every check; an exception from the subject is a finding, too."""
    found = []
    for check in checks:
        try:
            found.append(Finding(check.name, "passed", check(*subject, **options)))
        except SkipTest as error:
            found.append(Finding(check.name, "not offered", message=str(error)))
        except MismatchError as error:
            found.append(Finding(check.name, "failed", error.largest, str(error)))
        except Exception as error:  # from the subject
            message = f"{type(error).__name__}: {error}"
            found.append(Finding(check.name, "failed", message=message))
    return found


def rounding(expected: Tensor, steps: float = STEPS) -> float:
    """How far apart rounding alone may put two ways to compute the same numbers.

    Only the same computation done twice gives equal bits. Two ways to the same numbers, such as
    a fused kernel and plain products, a batch and its rows one by one, or a compiled graph and
    eager mode, add the same terms in different orders, and a kernel's order depends on the
    processor's instructions, its libraries and the shape. Two orders differ by a few units in
    the last place *of the largest numbers added*: a small result left over from large terms
    carries their error. So the allowance is ``steps`` times the type's precision times the
    largest expected number, whatever the size of an individual one.

    In float32 that is 8e-6 of the largest number, which could hide a wrong term. In float64 it
    is 1.4e-14, which cannot: whatever is compared in float32 is compared in float64, too.

    Args:
        expected: values of one quantity, of a float type.
        steps: units in the last place; more where the terms are larger than the results.
    """
    largest = float(expected.detach().abs().max()) if expected.numel() else 0.0
    return steps * torch.finfo(expected.dtype).eps * largest


def close(what: str, found: Tensor, expected: Tensor, tolerance: float, note: str = "") -> float:
    """The largest difference, which must be within ``tolerance``; the shapes must agree, too."""
    same_shape(what, found, tuple(expected.shape))
    difference = float((found - expected).detach().abs().max()) if found.numel() else 0.0
    if not difference <= tolerance:
        raise MismatchError(
            f"{what}: off by {difference:.2g}, {tolerance:.0e} allowed{note}", difference
        )
    return difference


def alike(what: str, found: Tensor, expected: Tensor, steps: float = STEPS) -> float:
    """The largest difference, which rounding must explain; shape and type must agree, too."""
    if found.dtype != expected.dtype:
        raise MismatchError(f"{what}: {found.dtype}, not {expected.dtype}")
    return close(what, found, expected, rounding(expected, steps))


def all_alike(
    what: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], steps: float = STEPS
) -> float:
    """:func:`alike` for an output and gradients by name; the names must agree, too.

    Gradients are compared at the size of the largest of them. All are sums of such terms, and in
    some the terms cancel: those of scores do if a token sees only itself, and one path finds 0
    where another finds what rounding leaves. The gradient of a temperature cancels in every row,
    over all pairs of positions, and gets 8 times the steps.
    """
    if found.keys() != expected.keys():
        raise MismatchError(f"{what}: {', '.join(found)}, not {', '.join(expected)}")
    gradients = {name: each for name, each in expected.items() if name != "output"}
    allowed = max((rounding(each, steps) for each in gradients.values()), default=0.0)
    largest = 0.0
    for name, each in expected.items():
        own = rounding(each, steps) if name == "output" else allowed
        own *= 8 if name.endswith("log_temperature") else 1
        if found[name].dtype != each.dtype:
            raise MismatchError(f"{what}, {name}: {found[name].dtype}, not {each.dtype}")
        largest = max(largest, close(f"{what}, {name}", found[name], each, own))
    return largest


def same_shape(what: str, found: Tensor, shape: tuple[int, ...]) -> None:
    """Raise :class:`MismatchError` unless the result has that shape."""
    if tuple(found.shape) != shape:
        raise MismatchError(f"{what}: shape {list(found.shape)}, not {list(shape)}")


def require(holds: bool, what: str) -> float:
    """Raise :class:`MismatchError` unless the condition holds."""
    if not holds:
        raise MismatchError(what)
    return 0.0
