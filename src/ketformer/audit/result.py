"""What an audit found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """A module that lets later positions in: its inputs are clean, its outputs are not.

    Attributes:
        module: its name in the model, as in ``named_modules``.
        change: largest change of its outputs at positions before the changed token.
        heads: the attention heads that leak; None if it has none, or they cannot be told apart.
    """

    module: str
    change: float
    heads: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Check:
    """One more way in which a decoder is used, compared with the plain forward pass.

    Attributes:
        name: ``batch``, ``cache``, ``left_padding``, ``packing`` or ``attention_weights``.
        passed: None if it could not be checked.
        influence: the largest change or difference that it saw, None if not checked.
        said: one line: what was seen, or why it could not be checked.
    """

    name: str
    passed: bool | None
    influence: float | None
    said: str


@dataclass(frozen=True)
class Audit:
    """What a causality audit found.

    Attributes:
        attention: the mechanism's name; of a model that is not ours, its type.
        causal: no replaced token changed any earlier output, other than by rounding where the
            model's arithmetic mixes positions (see ``notes``).
        max_future_influence: largest absolute change of an output (logits of a model,
            hidden states of a bare mechanism) at a position before the replaced one.
            Exactly 0.0 for a causal mechanism.
        max_past_influence: the same at and after the replaced position; it must be
            large, or the audit could not have seen a leak.
        worst: the replaced position and the earlier one that moved most, or None.
        sequences: random sequences tried.
        length: their length in tokens.
        perturbations: number of token replacements tried in each precision.
        precisions: the number formats in which this was done.
        positions: the positions that see a later token.
        ahead: the least and the largest distance between a position and a later one that it
            sees, or None.
        sources: the modules where the leak enters, in the order in which they run.
        checks: the cache, padding and other paths.
        notes: what could not be seen, and why.
    """

    attention: str
    causal: bool
    max_future_influence: float
    max_past_influence: float
    worst: tuple[int, int] | None
    sequences: int
    length: int
    perturbations: int
    precisions: tuple[str, ...]
    positions: tuple[int, ...]
    ahead: tuple[int, int] | None
    sources: tuple[Source, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether a position sees a later one, or a row of a batch another row."""
        return not self.causal or self.check("batch").passed is False

    def check(self, name: str) -> Check:
        """The check of that name.

        Raises:
            KeyError: no such check.
        """
        found = {check.name: check for check in self.checks}
        return found[name]

    def findings(self) -> list[str]:
        """Everything that a person should read, a line each: leaks, checks and notes."""
        lines = []
        if self.worst is not None:
            changed, moved = self.worst
            lines.append(
                f"Changing token {changed} changes the output at the earlier position {moved}: "
                "the future leaks."
            )
        if self.ahead is not None:
            near, far = self.ahead
            distance = f"{near}" if near == far else f"{near} to {far}"
            who = "Position {} of {} sees" if len(self.positions) == 1 else "Positions {} of {} see"
            who = who.format(_ranges(self.positions), _ranges(tuple(range(self.length))))
            lines.append(f"{who} a later token, {distance} ahead.")
        for source in self.sources:
            heads = "" if source.heads is None else f", heads {_ranges(source.heads)}"
            lines.append(f"It enters in {source.module or 'the model itself'}{heads}.")
        for check in self.checks:
            verdict = {True: "ok", False: "NO", None: "not checked"}[check.passed]
            lines.append(f"{check.name.replace('_', ' ')}: {verdict}: {check.said}")
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON."""
        return asdict(self)


def _ranges(numbers: tuple[int, ...]) -> str:
    """``0-3, 7`` for 0, 1, 2, 3 and 7, which are sorted."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
