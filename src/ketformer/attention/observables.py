"""Pauli observables of a mechanism: a set of strings for each head, part of the model."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.base import require_choice
from ketformer.errors import KetformerError
from ketformer.quantum import PauliPlan, PauliStrings, distinct_strings, random_strings

Observables = Literal["distinct", "random"]


class PauliObservables(nn.Module):
    """Expectations of ``S`` fixed Pauli strings per head.

    The strings are drawn once, from torch's global generator, and are a buffer:
    a saved model carries its own, so that a reloaded one gives the same outputs.

    Args:
        strings: one set for each head, all of the same size.
    """

    codes: Tensor

    def __init__(self, strings: list[PauliStrings]) -> None:
        super().__init__()
        self.register_buffer("codes", torch.stack([s.codes for s in strings]))  # [H, S, n]
        self._plans: tuple[Tensor, tuple[object, ...], list[PauliPlan]] | None = None

    @classmethod
    def draw(cls, kind: Observables, num_heads: int, count: int, n_qubits: int) -> PauliObservables:
        """``count`` strings for each head: ``random`` as published, or ``distinct``.

        The random strings differ between the heads. The distinct ones are the same in
        each, where the heads differ in what they do before they are measured.

        Raises:
            KetformerError: an unknown kind, or more distinct strings than there are.
        """
        require_choice("observables", kind, get_args(Observables))
        if kind == "random":
            return cls([random_strings(count, n_qubits) for _ in range(num_heads)])
        try:
            return cls([distinct_strings(count, n_qubits)] * num_heads)
        except ValueError as error:
            raise KetformerError(str(error)) from None

    @property
    def strings(self) -> list[PauliStrings]:
        """The strings of each head."""
        return [PauliStrings.from_codes(codes) for codes in self.codes.cpu()]

    def forward(self, real: Tensor, imag: Tensor | None = None) -> Tensor:
        """<state|P|state> for each head's strings.

        Equal to :func:`~ketformer.quantum.pauli_expectations`, which a test holds.

        Args:
            real: ``[H, 2^n, N]``, the real parts of the amplitudes of N states.
            imag: the imaginary parts; None for real states.

        Returns:
            ``[H, S, N]``.
        """
        plans = self._plans_for(real)
        if len(plans) == 1:  # all heads measure the same strings
            return plans[0](real, imag)
        heads = (plan(real[h], None if imag is None else imag[h]) for h, plan in enumerate(plans))
        return torch.stack(list(heads))

    def _plans_for(self, like: Tensor) -> list[PauliPlan]:
        """One plan for each head, or a single one for all; kept until the strings change."""
        # A tensor made in inference mode has no version; it cannot change outside that mode.
        version = None if self.codes.is_inference() else self.codes._version
        key = (version, like.device, like.dtype)
        if self._plans is None or self._plans[0] is not self.codes or self._plans[1] != key:
            strings = self.strings
            distinct = strings if len(set(strings)) > 1 else strings[:1]
            # Made as ordinary tensors, so that training can follow an evaluation in inference mode.
            with torch.inference_mode(False):
                self._plans = (self.codes, key, [PauliPlan(s, like) for s in distinct])
        return self._plans[2]


def in_columns(outcomes: Tensor) -> Tensor:
    """``[B, T, H, S]`` as ``[H, S, BT]``, the form in which values are computed."""
    return outcomes.flatten(0, 1).permute(1, 2, 0)


def from_columns(values: Tensor, hidden_states: Tensor) -> Tensor:
    """``[H, S, BT]`` as ``[B, H, T, S]``, the form in which they are mixed."""
    tokens: Tensor = values.unflatten(-1, hidden_states.shape[:2])
    return tokens.permute(2, 0, 3, 1)
