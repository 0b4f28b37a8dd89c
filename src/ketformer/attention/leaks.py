"""The warning about mechanisms that see the future."""

from __future__ import annotations

import warnings


class LeakWarning(UserWarning):
    """The mechanism lets a position see the tokens that it should predict."""


_warned: set[str] = set()


def warn_of_leak(name: str) -> None:
    """Warn, once per mechanism and process, that its loss is not a language model's loss."""
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"{name} reproduces a published leak: each position sees later tokens. Its cross "
            "entropy is not that of a language model; read prefix_cross_entropy.",
            LeakWarning,
            stacklevel=3,
        )
