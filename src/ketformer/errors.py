"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class KetformerError(ValueError):
    """A mistake in what was asked for: a file, a name, a number.

    The message is one clear line. The command prints it and exits with code 2;
    from Python it is an ordinary :class:`ValueError`.
    """
