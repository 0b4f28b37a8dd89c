"""Progress bars that close themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm


class Bars:
    """Bars for functions that report (done, total).

    A full bar closes at once, the others at the end of the block.

    Args:
        shown: whether to draw the bars, on standard error.
        unit: what is counted.
        delay: seconds that work must take for its bar to appear.
    """

    def __init__(self, shown: bool, unit: str, delay: float = 0.0) -> None:
        self.shown = shown
        self.unit = unit
        self.delay = delay
        self.open: list[Any] = []

    def __enter__(self) -> Bars:
        return self

    def __call__(self, label: str) -> Callable[[int, int], None]:
        """Open a bar and return the function that moves it."""
        bar = tqdm(
            desc=label, unit=self.unit, disable=not self.shown, leave=False, delay=self.delay
        )
        self.open.append(bar)

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done >= total:  # otherwise the next bar would be drawn below it
                bar.close()

        return step

    def __exit__(self, *_: object) -> None:
        for bar in self.open:
            bar.close()
