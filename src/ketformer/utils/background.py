"""What is done now and then beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function in a thread every so many seconds while the block runs, and once after it."""
    ended = threading.Event()

    def watch() -> None:
        last = False
        while not last:
            last = ended.wait(seconds)
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
