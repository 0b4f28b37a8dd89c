"""A set of texts that is too large for one: ten million take 80 MB."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


class Seen:
    """Which texts were there before, by 64-bit hashes.

    A text that is new is taken for one seen if their hashes are equal. Among n distinct texts
    that happens with probability n² / 2⁶⁵ at most: 3e-8 for a million, 3e-6 for ten million.

    The hashes are in sorted arrays, each more than twice as long as the next, so that adding
    a block costs O(block · log² n) on average, and 8 bytes a text; 20 while arrays are merged.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.uint64]] = []

    def __len__(self) -> int:
        """How many distinct texts were seen."""
        return sum(map(len, self._arrays))

    def add(self, texts: Sequence[str | None]) -> NDArray[np.bool_]:
        """Add texts; return for each whether it came before, ``[N]``; None never did."""
        places = [i for i, text in enumerate(texts) if text is not None]
        hashes = np.array([_hash(texts[i] or "") for i in places], dtype=np.uint64)
        distinct, first = np.unique(hashes, return_index=True)
        new = ~self._hold(distinct)
        before = np.zeros(len(texts), dtype=bool)
        before[places] = True
        before[np.array(places, dtype=int)[first[new]]] = False
        self._insert(distinct[new])
        return before

    def _hold(self, sought: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = np.zeros(len(sought), dtype=bool)
        for array in self._arrays:
            places = np.minimum(np.searchsorted(array, sought), len(array) - 1)
            found |= array[places] == sought
        return found

    def _insert(self, new: NDArray[np.uint64]) -> None:
        if not len(new):
            return
        self._arrays.append(new)
        while len(self._arrays) > 1 and len(self._arrays[-2]) <= 2 * len(self._arrays[-1]):
            last = np.concatenate([self._arrays.pop(), self._arrays.pop()])
            last.sort(kind="stable")  # of two sorted runs: a merge, in linear time
            self._arrays.append(last)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
