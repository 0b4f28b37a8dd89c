"""Names and texts of a file in messages: found regardless of case, and cut if they are long."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def matching(name: str, names: Sequence[str]) -> list[int]:
    """Where a name stands among others: as written, or else in upper or lower case."""
    exact = [i for i, other in enumerate(names) if other == name]
    folded = name.casefold()
    return exact or [i for i, other in enumerate(names) if other.casefold() == folded]


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean 'LogP'?``, or nothing if no name is near."""
    known = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), known, n=1)
    return f"; did you mean {shortened(known[close[0]])}?" if close else ""


def listed(names: Sequence[str]) -> str:
    """The first twenty names, quoted."""
    return ", ".join(map(shortened, names[:20])) + (", …" if len(names) > 20 else "")


def shortened(text: str) -> str:
    """A text as quoted in a message, cut if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
