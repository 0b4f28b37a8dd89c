"""What the oracle was asked, which of it is rewarded, and which is replayed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ketformer.optimisation.options import Optimisation


@dataclass(frozen=True)
class Call:
    """One molecule that the oracle was asked about.

    Attributes:
        smiles: canonical.
        value: what the oracle said; NaN if it failed.
        failure: why it failed; empty if it did not.
        scaffold: that of Murcko, canonical; empty without a ring.
        ids: its tokens after the begin token, as they were sampled.
    """

    smiles: str
    value: float
    failure: str
    scaffold: str
    ids: list[int]


class History:
    """All calls in order.

    A scaffold is exhausted once more than ``bucket_size`` molecules of it have been found with at
    least ``min_score``: none of them is rewarded or replayed any more, so that the model looks
    elsewhere. It is the diversity filter of
    REINVENT (Blaschke et al. 2020, doi:10.1186/s13321-020-00473-0), with the purge of the memory
    of Guo and Schwaller 2023 (arXiv 2305.16160). Molecules without a ring share one bucket.

    Args:
        how: the options.
        calls: earlier calls.
    """

    def __init__(self, how: Optimisation, calls: Iterable[Call] = ()) -> None:
        self.how = how
        self.calls: list[Call] = []
        self.scores: list[float] = []
        self._places: dict[str, int] = {}
        self._buckets: Counter[str] = Counter()
        for call in calls:
            self.add(call)

    def __contains__(self, smiles: str) -> bool:
        return smiles in self._places

    def add(self, call: Call) -> None:
        """Add a molecule that has not been asked about before."""
        score = self.how.score(call.value)
        self._places[call.smiles] = len(self.calls)
        self.calls.append(call)
        self.scores.append(score)
        self._buckets[call.scaffold] += score >= self.how.min_score

    def reward(self, smiles: str) -> float:
        """The score of a known molecule, or 0 if its scaffold is exhausted."""
        place = self._places[smiles]
        return 0.0 if self._exhausted(place) else self.scores[place]

    def memory(self) -> list[int]:
        """The places of the best molecules that may be replayed, the best first."""
        found: list[int] = []
        for place in self.ranked():
            if self.scores[place] == 0 or len(found) == self.how.memory:
                break
            if not self._exhausted(place):
                found.append(place)
        return found

    def ranked(self) -> list[int]:
        """The places of all calls, the best first; of equal ones, the earlier."""
        return sorted(range(len(self.calls)), key=lambda place: -self.scores[place])

    @property
    def failures(self) -> dict[int, str]:
        """Why the oracle failed, by place."""
        return {place: call.failure for place, call in enumerate(self.calls) if call.failure}

    @property
    def scaffolds(self) -> int:
        """The number of different scaffolds with a molecule of at least ``min_score``."""
        return sum(count > 0 for count in self._buckets.values())

    @property
    def beyond(self) -> int:
        """How many values lie outside the range, and so have the score of its end."""
        low, high = sorted(self.how.range)
        return sum(
            not low <= call.value <= high for call in self.calls if not math.isnan(call.value)
        )

    def _exhausted(self, place: int) -> bool:
        size = self.how.bucket_size
        return bool(size) and self._buckets[self.calls[place].scaffold] > size
