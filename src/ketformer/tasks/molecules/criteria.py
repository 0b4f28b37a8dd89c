"""What a user asks of a shortlist: which molecules it keeps, and which of them come first."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ketformer.errors import KetformerError
from ketformer.tasks.molecules.descriptors import (
    CATALOGUES,
    COUNTS,
    DESCRIPTORS,
    find_descriptor,
)
from ketformer.tasks.molecules.quoting import shortened

#: The distance of a molecule from the request; the similarity to the nearest known compound.
DISTANCE, SIMILARITY = "request", "similarity"

_SIGNS = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "==": operator.eq,
    "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_TERM = re.compile(
    rf"([^\W\d]\w*)\s*({'|'.join(_SIGNS)})\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![^\s,;&])"
)
_BETWEEN = re.compile(r"(?:[\s,;&]|\band\b)*", re.IGNORECASE)

# Which end of a property is better, where that is no question.
_BEST = {"QED": "high", "SA": "low", DISTANCE: "low", **dict.fromkeys((*CATALOGUES, "MCF"), "low")}
_ENDS = ("high", "low")


@dataclass(frozen=True)
class Criterion:
    """A bound on a property, as in ``QED>0.5``.

    Attributes:
        name: of the property, as :data:`~.descriptors.DESCRIPTORS` has it.
        sign: one of ``< <= = == != >= >``.
        bound: a finite number.
    """

    name: str
    sign: str
    bound: float

    def __str__(self) -> str:
        """As a user would write it."""
        return f"{self.name}{self.sign}{self.bound:.15g}"

    def met(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values meet it; NaN never does."""
        met: NDArray[np.bool_] = _SIGNS[self.sign](values, self.bound) & ~np.isnan(values)
        return met


@dataclass(frozen=True)
class Key:
    """What molecules are ranked by.

    Attributes:
        name: a property, ``request`` or ``similarity``.
        high: whether larger values come first.
    """

    name: str
    high: bool

    def __str__(self) -> str:
        """As a user would write it."""
        return f"{self.name}:{_ENDS[not self.high]}"


def parse_filter(text: str, known: Iterable[str] = DESCRIPTORS) -> list[Criterion]:
    """The criteria in ``QED>0.5 SA<4 PAINS=0``, all of which a molecule must meet.

    Between them may be blanks, commas, semicolons, ampersands or ``and``.

    Args:
        text: as the user writes it.
        known: the names that there are.

    Raises:
        KetformerError: no criterion, or one that cannot be read, has an unknown name, or wants a
            measured value to be exactly a number.
    """
    known = list(known)
    criteria, place = [], _BETWEEN.match(text).end()  # type: ignore[union-attr]
    while place < len(text):
        if not (term := _TERM.match(text, place)):
            raise KetformerError(
                'a filter is written NAME<NUMBER, as in "QED>0.5 SA<4 PAINS=0"; cannot read '
                f"{shortened(text[place:])}"
            )
        name, sign, bound = find_descriptor(term[1], known), term[2], float(term[3])
        if sign in ("=", "==", "!=") and name not in COUNTS:
            raise KetformerError(
                f"{name} is no whole number, so {name}{sign}{term[3]} says little; write a range, "
                f'as in "{name}>{bound - 0.1:g} {name}<{bound + 0.1:g}"'
            )
        if not abs(bound) < float("inf"):
            raise KetformerError(f"{name}{sign}{term[3]}: the number must be finite")
        criteria.append(Criterion(name, sign, bound))
        place = _BETWEEN.match(text, term.end()).end()  # type: ignore[union-attr]
    if not criteria:
        raise KetformerError('an empty filter; write one as in "QED>0.5 SA<4 PAINS=0"')
    return criteria


def parse_rank(items: Sequence[str], known: Iterable[str] = DESCRIPTORS) -> list[Key]:
    """The keys in ``["request", "QED", "MW:low"]``.

    Raises:
        KetformerError: an unknown or repeated name, or one that needs ``:high`` or ``:low``.
    """
    known = list(known)
    keys: list[Key] = []
    for item in items:
        text, colon, end = item.partition(":")
        name = find_descriptor(text, known)
        end = end.strip().casefold() if colon else _BEST.get(name, "")
        if end not in _ENDS:
            raise KetformerError(
                f"which {name} comes first? write {name}:high or {name}:low, got {item!r}"
            )
        if name in {key.name for key in keys}:
            raise KetformerError(f"ranked by {name} twice")
        keys.append(Key(name, end == "high"))
    return keys


def ranked(columns: Mapping[Key, NDArray[np.float64]], count: int) -> NDArray[np.int64]:
    """Indices of ``count`` molecules, the best first; equal ones stay in their order.

    By several keys, molecules are ordered by the sum of their ranks in each (Borda count), so that
    no key needs a unit or a weight. Molecules with the same value share the mean of their ranks;
    one without a value is last.

    Args:
        columns: a value ``[count]`` of each molecule, by key.
        count: number of molecules.
    """
    from scipy.stats import rankdata

    total = np.zeros(count)
    for key, values in columns.items():
        worst_last = np.where(np.isnan(values), np.inf, -values if key.high else values)
        total += rankdata(worst_last)
    return np.argsort(total, kind="stable")
