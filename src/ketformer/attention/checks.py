"""Checks of sizes and options, made before anything is allocated."""

from __future__ import annotations

import torch

from ketformer.errors import KetformerError
from ketformer.utils.machine import require_memory

#: The largest register allowed: a circuit's complex matrix takes 32 GiB there.
MAX_QUBITS = 16
#: A lower bound for the Python objects of one gate.
BYTES_PER_GATE = 1 << 9


def check_qubits(n_qubits: int) -> int:
    """Refuse a register that is empty or too large for a circuit's matrix."""
    if n_qubits < 1:
        raise KetformerError(f"a register needs at least one qubit, got {n_qubits}")
    if n_qubits > MAX_QUBITS:
        gibibytes = 2 ** (2 * n_qubits) * 8 / 2**30
        raise KetformerError(
            f"{n_qubits} qubits are too many to simulate exactly: a circuit's matrix would take "
            f"{gibibytes:,.0f} GiB; the limit is {MAX_QUBITS}"
        )
    return n_qubits


def check_layers(layers: int, n_qubits: int) -> int:
    """Refuse an ansatz without layers, or with more gates than this machine can hold."""
    if layers < 1:
        raise KetformerError(f"layers must be positive, got {layers}")
    require_memory(
        f"{layers:,} layers on {n_qubits} qubits are too many gates",
        2 * n_qubits * layers * BYTES_PER_GATE,
    )
    return layers


def check_weights(what: str, rows: int, columns: int) -> None:
    """Refuse a float32 weight matrix that this machine cannot hold.

    On torch's meta device, where circuits are counted, weights take no memory.
    """
    if torch.get_default_device().type != "meta":
        require_memory(f"{what} is too large, {rows:,} × {columns:,} weights", 4 * rows * columns)


def require_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices, and list them."""
    if value not in choices:
        raise KetformerError(f"{what} must be one of {', '.join(choices)}, got {value!r}")
