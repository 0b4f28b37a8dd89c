"""The option ``register``: what a head encodes in its qubits, the token or its own slice of it.

The published mechanisms encode the whole token for every head. A slice has H times fewer
amplitudes, as a head of classical attention has H times fewer numbers than the token; that is ours.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from ketformer.attention.checks import require_choice
from ketformer.errors import KetformerError

Register = Literal["token", "head"]


def encoded_width(register: Register, hidden_size: int, num_heads: int) -> int:
    """How many numbers a head encodes.

    Raises:
        KetformerError: an unknown register, or slices of one number, whose state is always |0>.
    """
    require_choice("register", register, get_args(Register))
    width = hidden_size if register == "token" else hidden_size // num_heads
    if register == "head" and width < 2:
        raise KetformerError(
            "register=head encodes a head's slice of the token, which must be at least 2 wide; "
            "use fewer heads"
        )
    return width


def encoded_parts(register: Register, hidden_states: Tensor, num_heads: int) -> Tensor:
    """What each head encodes, ``[B, T, H, d / H]``, or ``[B, T, 1, d]`` if all heads the same."""
    heads = num_heads if register == "head" else 1
    parts: Tensor = hidden_states.unflatten(-1, (heads, -1))
    return parts
