"""Slots of a mixer with weights for each position: tokens fill them in order, without gaps.

Such weights end, so the number of positions is limited. Padding takes no slot, so that a sequence
does not depend on how it is padded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ketformer.attention.inputs import InputSizes
from ketformer.errors import KetformerError

#: Slots of a mixer that is not told the context length.
FEW = 16


def number_of_slots(inputs: InputSizes | None) -> int:
    """The context length, or :data:`FEW` for a mixer that is built without a decoder."""
    return FEW if inputs is None else inputs.max_positions


def slots_of(earlier: Tensor | None, is_token: Tensor | None, like: Tensor) -> Tensor:
    """The slot of each token, ``[B or 1, T]``; padding has that of the token before it, or 0.

    Args:
        earlier: the number of tokens before these positions, ``[B]``; None for none.
        is_token: bool ``[B or 1, T]``; None if there is no padding.
        like: ``[B, T, …]``, on the device of the result.
    """
    if is_token is None:
        own = torch.arange(like.shape[1], device=like.device).unsqueeze(0)
    else:
        own = is_token.cumsum(-1) - 1
    slots = own if earlier is None else own + earlier.unsqueeze(-1)
    return slots.clamp_min(0)


def tokens_so_far(earlier: Tensor | None, is_token: Tensor | None, like: Tensor) -> Tensor:
    """The number of tokens up to and with these positions, ``[B]``; arguments as above."""
    new = like.shape[1] if is_token is None else is_token.sum(-1)
    start = torch.zeros(like.shape[0], dtype=torch.long, device=like.device)
    return (start if earlier is None else earlier) + new


def require_slots(name: str, positions: int, slots: int) -> None:
    """Refuse more positions than there are slots, padding included.

    Raises:
        KetformerError: there are more.
    """
    if positions > slots:
        raise KetformerError(
            f"{name} has weights for {slots} positions, the context length; {positions} are too "
            "many"
        )
