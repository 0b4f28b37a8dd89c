"""Conditions on their way into the decoder: checked, standardised, and hidden in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ketformer.errors import KetformerError
from ketformer.models.configuration import KetformerConfig

# Without a range, a value this many deviations from the mean counts as out of reach.
_FAR = 3


class BeyondTraining(UserWarning):
    """A requested value is outside what the training data hold."""


def beyond_training(config: KetformerConfig, requested: Mapping[str, float]) -> list[str]:
    """A line for each requested value outside what the training data hold, with their range.

    Models without ranges are judged by mean and deviation; without these either, nothing is said.

    Args:
        config: the model's configuration.
        requested: values by name of the condition, in their own units.
    """
    names = config.condition_names or []
    means, stds = config.condition_means or [], config.condition_stds or []
    scaled = set(means) != {0.0} or set(stds) != {1.0}
    lines = []
    for i, name in enumerate(names):
        if name not in requested:
            continue
        value, far = requested[name], (requested[name] - means[i]) / stds[i]
        side = "above" if far > 0 else "below"
        away = f"{abs(far):.3g} standard deviations {side} their mean {means[i]:.4g}"
        if config.condition_ranges:
            low, high = config.condition_ranges[i]
            if not low <= value <= high:
                lines.append(
                    f"{name}={value:g} is out of reach: the training data range from {low:.4g} to "
                    f"{high:.4g}{f', and it lies {away}' if scaled else ''}; is the unit the same?"
                )
        elif scaled and abs(far) > _FAR:
            lines.append(
                f"{name}={value:g} is out of reach: it lies {away} in the training data, where "
                f"they deviate by {stds[i]:.4g}; is the unit the same?"
            )
    return lines


def check_conditions(config: KetformerConfig, conditions: Tensor | None) -> None:
    """Refuse condition values that the model cannot handle.

    A forward pass does not check them, or it could neither be compiled into one graph nor run
    without waiting for a GPU; there, such a value makes the logits NaN.

    Args:
        config: the model's configuration.
        conditions: ``[B, C]`` in their own units, NaN where unknown; None leaves all unknown.

    Raises:
        KetformerError: an infinite value, or an unknown one where the model needs them all; the
            condition and the row, from 0, are named.
    """
    names = config.condition_names or []
    if conditions is None:
        if names and not config.condition_unknown:
            raise KetformerError(f"this model needs every condition: {', '.join(names)}")
        return
    values = torch.as_tensor(conditions).to(torch.get_default_dtype())
    if found := _first(values.isinf(), names):
        raise KetformerError(f"{found} is infinite; NaN stands for unknown")
    if not config.condition_unknown and (found := _first(values.isnan(), names)):
        raise KetformerError(
            f"this model needs every condition ({', '.join(names)}), but {found} is unknown"
        )


def _first(bad: Tensor, names: Sequence[str]) -> str:
    """The first of the bad values ``[B, C]`` by condition and row; empty if there is none."""
    if not bool(bad.any()):
        return ""
    *rows, place = bad.nonzero()[0].tolist()
    name = f"condition {names[place]}" if place < len(names) else "a condition"
    return f"{name} of row {', '.join(map(str, rows))}" if rows else name


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
