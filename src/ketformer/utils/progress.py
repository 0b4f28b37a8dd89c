"""Progress bars that close themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm


class Bars:
    """Bars for functions that report (done, total); a full one closes, the others with the block.

    Args:
        shown: whether they are drawn, on standard error.
        unit: of what is counted.
    """

    def __init__(self, shown: bool, unit: str) -> None:
        self.shown = shown
        self.unit = unit
        self.open: list[Any] = []

    def __enter__(self) -> Bars:
        return self

    def __call__(self, label: str) -> Callable[[int, int], None]:
        """A new bar, as the function that moves it."""
        bar = tqdm(desc=label, unit=self.unit, disable=not self.shown, leave=False)
        self.open.append(bar)

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done >= total:  # or the next one would be drawn below
                bar.close()

        return step

    def __exit__(self, *_: object) -> None:
        for bar in self.open:
            bar.close()
