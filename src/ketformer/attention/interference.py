"""Interference: the score of two waves is how far they are in phase."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ketformer.attention.base import Attention, CommonOptions
from ketformer.attention.checks import check_weights, require_choice
from ketformer.attention.drawn import Drawn
from ketformer.attention.inputs import TokenInputs
from ketformer.errors import KetformerError

Phases = Literal["trained", "random", "zero"]
Coordinates = Literal["polar", "cartesian"]
#: Standard deviation of a phase at the start, in radians, for layer-normalised hidden states.
_SPREAD = 0.5


class Interference(Drawn, Attention):
    """Score w^-1/2 sum_m a_m b_m cos(φ_m - χ_m) of w modes; linear values.

    The amplitudes a of a query and b of a key, and their phases φ and χ, are linear in the token.
    Waves in phase add up, waves in opposite phase cancel. We know of no paper whose text or code
    could be checked, so start, default width and options are ours.

    It needs no circuit, and none is offered: since cos(x - y) = cos x cos y + sin x sin y, the
    score is a dot product of 2w real numbers, (a cos φ, a sin φ) with (b cos χ, b sin χ).
    Amplitude and phase are polar coordinates of queries and keys; a negative amplitude is a phase
    of π more.

    Args:
        query_modes: modes w of each head's queries and keys; by default half of the head's width,
            so that they are as wide as those of ``classical`` and have as many weights.
        phases: ``trained``; ``random``, linear maps drawn once and not trained; or ``zero``, which
            leaves a dot product of the w amplitudes.
        coordinates: ``polar``, or ``cartesian``: the control whose two linear maps give the 2w
            numbers themselves.

    Other options as in :class:`~ketformer.attention.Attention`.

    Raises:
        KetformerError: an invalid size or option.
    """

    default_score = "dot"
    twins = ("interference:coordinates=cartesian",)
    linear_values = True
    phase_weight: Tensor

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        query_modes: int | None = None,
        phases: Phases = "trained",
        coordinates: Coordinates = "polar",
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(hidden_size, num_heads, **common)
        require_choice("phases", phases, get_args(Phases))
        require_choice("coordinates", coordinates, get_args(Coordinates))
        if coordinates == "cartesian" and phases != "trained":
            raise KetformerError(f"cartesian coordinates have no phases to be {phases}")
        self.modes = max(self.head_dim // 2, 1) if query_modes is None else query_modes
        if self.modes < 1:
            raise KetformerError(f"query_modes must be positive, got {query_modes}")
        width = 2 * num_heads * self.modes
        check_weights("query_modes", hidden_size, width)
        self.coordinates = coordinates
        self.amplitude_proj = nn.Linear(hidden_size, width, bias=self.bias)
        self.phase_proj: nn.Linear | None = None
        if phases == "trained":
            self.phase_proj = nn.Linear(hidden_size, width, bias=self.bias)
        self.random_phases = phases == "random"
        if self.random_phases:
            drawn = torch.randn(width, hidden_size, device="cpu") * _SPREAD * hidden_size**-0.5
            self.register_drawn("phase_weight", drawn)
        self.value_proj = nn.Linear(hidden_size, hidden_size, bias=self.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the map to the phases for a deviation of half a radian."""
        super().reset_parameters()
        if self.phase_proj is not None and self.coordinates == "polar":
            nn.init.normal_(self.phase_proj.weight, std=_SPREAD * self.hidden_size**-0.5)

    def score_weights(self) -> list[Tensor]:
        """The map to the amplitudes; of cartesian coordinates, both maps."""
        weights = [self.amplitude_proj.weight]
        if self.coordinates == "cartesian" and self.phase_proj is not None:
            weights.append(self.phase_proj.weight)
        return weights

    def dot_scale(self, width: int) -> float:
        """1/sqrt(w), for w modes."""
        return float(self.modes**-0.5)

    def project(
        self, hidden_states: Tensor, tokens: TokenInputs | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys ``[B, H, T, 2w]`` (w if all phases are 0), linear values.

        With ``rotary`` positions, turning their pairs of numbers adds the position times a
        frequency to each phase.
        """
        amplitudes, phases = self.amplitude_proj(hidden_states), self._phases(hidden_states)
        if phases is None:
            parts = [amplitudes]
        elif self.coordinates == "cartesian":
            parts = [amplitudes, phases]
        else:
            # Half precision has too few digits for an angle.
            phases = phases.to(torch.promote_types(phases.dtype, torch.float32))
            waves = (phases.cos(), phases.sin())
            parts = [amplitudes * wave.to(amplitudes.dtype) for wave in waves]
        split = [self.split_heads(half) for part in parts for half in part.chunk(2, dim=-1)]
        query, key = torch.cat(split[::2], dim=-1), torch.cat(split[1::2], dim=-1)
        return query, key, self.split_heads(self.value_proj(hidden_states))

    def _phases(self, hidden_states: Tensor) -> Tensor | None:
        """Phases of queries and then of keys, ``[B, T, 2Hw]``; None for 0."""
        phases: Tensor | None = None
        if self.phase_proj is not None:
            phases = self.phase_proj(hidden_states)
        elif self.random_phases:
            phases = F.linear(hidden_states, self.phase_weight.to(hidden_states.dtype))
        return phases
