"""Why a command ends early: a mistake that the user can fix, or a request to stop."""

from __future__ import annotations

from pathlib import Path

_LONGEST = 1_500  # characters of a message


class KetformerError(ValueError):
    """A mistake in the user's input: a file, a name or a number.

    The message is one clear line; its middle is cut out if a value makes it very long. The command
    prints it and exits with code 2; in Python it is an ordinary :class:`ValueError`.
    """

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            message = f"{message[:1_000]} […] {message[-400:]}"
        super().__init__(message)


class NotOfferedError(KetformerError):
    """The request makes sense, but this backend or mechanism does not support it."""


class UnreadableError(KetformerError):
    """A text that a model cannot read: it has unknown tokens, too many tokens, or none."""


class NotFiniteError(KetformerError):
    """Training ended because a loss, gradient or weight became infinite or NaN."""


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal and has saved its progress.

    Args:
        message: one line that says so.
        signal: the signal's number.
        run: the run directory.
    """

    def __init__(self, message: str, signal: int, run: Path) -> None:
        super().__init__(message, signal, run)  # all three, so that it survives pickling
        self.signal = signal
        self.run = run

    def __str__(self) -> str:
        return str(self.args[0])


def one_line(error: BaseException) -> str:
    """An error on one line, with its type unless it is ours."""
    if isinstance(error, KetformerError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
