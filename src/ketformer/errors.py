"""What ends a verb early: a mistake that the user can mend, or the user's own wish."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 1_500  # characters of a message


class KetformerError(ValueError):
    """A mistake in what was asked for: a file, a name, a number.

    The message is one clear line, without the middle if a value makes it very long. The command
    prints it and exits with code 2; from Python it is an ordinary :class:`ValueError`.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[:1_000]} […] {message[-400:]}"
        super().__init__(message)


class NotOfferedError(KetformerError):
    """What was asked for makes sense, but this backend or mechanism does not offer it."""


class UnreadableError(KetformerError):
    """A text that a model cannot read: it has a token that the model lacks, too many, or none."""


class NotFiniteError(KetformerError):
    """A training ended because a loss, gradient or weight became infinite or not a number."""


class Stopped(KeyboardInterrupt):
    """A training was told to stop by a signal, and has saved what it had.

    Args:
        message: one line that says so.
        signal: its number.
        run: the run directory.
    """

    def __init__(self, message: str, signal: int, run: Path) -> None:
        super().__init__(message, signal, run)  # all of them: a worker's error is pickled
        self.signal = signal
        self.run = run

    def __str__(self) -> str:
        return str(self.args[0])
