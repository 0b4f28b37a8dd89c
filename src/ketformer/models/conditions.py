"""Conditions on their way into the decoder: checked, standardised, and hidden in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ketformer.errors import KetformerError
from ketformer.models.configuration import KetformerConfig


def check_conditions(config: KetformerConfig, conditions: Tensor | None) -> None:
    """Refuse condition values that the model cannot handle.

    A forward pass does not check them, or it could neither be compiled into one graph nor run
    without waiting for a GPU; there, such a value makes the logits NaN.

    Args:
        config: the model's configuration.
        conditions: ``[B, C]`` in their own units, NaN where unknown; None leaves all unknown.

    Raises:
        KetformerError: an infinite value, or an unknown one where the model needs them all.
    """
    names = config.condition_names or []
    values = (
        None if conditions is None else torch.as_tensor(conditions).to(torch.get_default_dtype())
    )
    if values is not None and bool(values.isinf().any()):
        raise KetformerError("a condition is infinite; NaN stands for unknown")
    missing = bool(names) if values is None else bool(values.isnan().any())
    if missing and not config.condition_unknown:
        raise KetformerError(f"this model needs every condition: {', '.join(names)}")


class Standardise(nn.Module):
    """Conditions as multiples of their standard deviations, some of them hidden in training.

    Means and deviations come from the configuration; here they are on the model's device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: KetformerConfig) -> None:
        super().__init__()
        self.config = config
        self.names = list(config.condition_names or [])
        self.register_buffer("mean", torch.empty(len(self.names)), persistent=False)
        self.register_buffer("std", torch.empty(len(self.names)), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill both buffers from the configuration; they are not saved."""
        for buffer, values in (
            (self.mean, self.config.condition_means),
            (self.std, self.config.condition_stds),
        ):
            buffer.copy_(torch.tensor(values or [], dtype=buffer.dtype, device="cpu"))

    def _apply(self, *args: Any, **kwargs: Any) -> Standardise:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.reset_parameters()  # ``to_empty`` would leave arbitrary numbers
        return self

    def forward(
        self, conditions: Tensor | None, like: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Standardised values ``[B, C]``, 0 where unknown, and the mask of unknown ones.

        Args:
            conditions: ``[B, C]`` in their own units, NaN where unknown; None leaves all unknown.
            like: hidden states ``[B, T, d]``; the result has their type and device.

        Raises:
            KetformerError: conditions have the wrong shape, or the model has none.
        """
        if not self.names:
            if conditions is not None:
                raise KetformerError("this model was trained without conditions")
            return None, None
        shape = (like.shape[0], len(self.names))
        if conditions is None:
            conditions = like.new_full(shape, torch.nan)
        elif not isinstance(conditions, Tensor):
            conditions = torch.as_tensor(conditions)
        if conditions.shape != shape:
            raise KetformerError(
                f"conditions must be {list(shape)} ({', '.join(self.names)}), "
                f"got {list(conditions.shape)}"
            )
        conditions = conditions.to(like.device, like.dtype)
        unknown = conditions.isnan()
        known = (conditions - self.mean) / self.std
        if not self.config.condition_unknown:
            return known, unknown
        if self.training and self.config.condition_pdrop:
            # One share per sequence, so that all, some and none of them unknown are all common.
            share = 2 * self.config.condition_pdrop * torch.rand(shape[0], 1, device=like.device)
            unknown = unknown | (torch.rand(shape, device=like.device) < share)
        return known.masked_fill(unknown, 0), unknown
