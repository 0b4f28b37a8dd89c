"""What a machine can hold, told before anything is allocated."""

from __future__ import annotations

import os

from ketformer.errors import KetformerError


def require_memory(complaint: str, needed: int) -> None:
    """Refuse what this machine cannot hold.

    Args:
        complaint: what is too large, or too many; the message begins with it.
        needed: bytes.

    Raises:
        KetformerError: with what it would need and what there is.
    """
    if needed > (there := machine_memory()):
        raise KetformerError(
            f"{complaint}: that would take {needed / 2**30:,.0f} GiB of memory; this machine has "
            f"{there / 2**30:,.1f} GiB"
        )


def machine_memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
