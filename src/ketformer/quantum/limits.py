"""What an exact simulation takes, told before anything is allocated."""

from __future__ import annotations

import os

from ketformer.errors import KetformerError


def require_memory(n_qubits: int, needed: int) -> None:
    """Refuse a simulation that this machine cannot hold.

    Args:
        n_qubits: for the message.
        needed: bytes.

    Raises:
        KetformerError: with what it would need and what there is.
    """
    if needed > (there := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        raise KetformerError(
            f"{n_qubits} qubits are too many to simulate exactly: that would take "
            f"{needed / 2**30:,.0f} GiB of memory; this machine has {there / 2**30:,.1f} GiB"
        )
