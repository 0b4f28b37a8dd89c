"""Pauli observables of a mechanism: a set of strings for each head, part of the model."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ketformer.attention.base import require_choice
from ketformer.errors import KetformerError
from ketformer.quantum import PauliStrings, distinct_strings, random_strings

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
        self._tables: tuple[Tensor, tuple[object, ...], Tensor, Tensor, bool] | None = None

    @classmethod
    def draw(
        cls, kind: Observables, num_heads: int, count: int, n_qubits: int
    ) -> PauliObservables:
        """``count`` strings for each head, ``random`` as published or ``distinct``.

        Raises:
            KetformerError: an unknown kind, or more distinct strings than there are.
        """
        require_choice("observables", kind, get_args(Observables))
        make = random_strings if kind == "random" else distinct_strings
        try:
            return cls([make(count, n_qubits) for _ in range(num_heads)])
        except ValueError as error:
            raise KetformerError(str(error)) from None

    @property
    def strings(self) -> list[PauliStrings]:
        """The strings of each head."""
        return [PauliStrings.from_codes(codes) for codes in self.codes.cpu()]

    def forward(self, real: Tensor, imag: Tensor | None = None) -> Tensor:
        """<state|P|state> for each head's strings, summed as one matrix product.

        Strings that flip the same bits share one product of amplitudes, and their
        signs are the columns of a matrix. Equal to
        :func:`~ketformer.quantum.pauli_expectations`, which a test holds.

        Args:
            real: ``[..., H, 2^n]``, the real parts of the amplitudes.
            imag: the imaginary parts; None for a real state.

        Returns:
            ``[..., H, S]``.
        """
        flips, weights, needs_odd = self._tables_for(real)
        index = flips.flatten(-2).expand(*real.shape[:-1], -1)  # [..., H, A*D]
        shape = flips.shape[-2:]

        def partner(part: Tensor) -> Tensor:
            return part.gather(-1, index).unflatten(-1, shape)

        def own(part: Tensor) -> Tensor:
            return part.unsqueeze(-2)

        if imag is None:
            products = (own(real) * partner(real)).flatten(-2)
            weights = weights[:, : products.shape[-1]]
        else:
            real_partner, imag_partner = partner(real), partner(imag)
            products = (own(real) * real_partner + own(imag) * imag_partner).flatten(-2)
            if needs_odd:
                odd = (own(real) * imag_partner - own(imag) * real_partner).flatten(-2)
                products = torch.cat([products, odd], dim=-1)
        return torch.einsum("...hk,hks->...hs", products, weights)

    def _tables_for(self, like: Tensor) -> tuple[Tensor, Tensor, bool]:
        """``flips`` [H, A, D] and ``weights`` [H, A*D (*2), S], kept until the strings change."""
        # A tensor made in inference mode has no version; it cannot change outside that mode.
        version = None if self.codes.is_inference() else self.codes._version
        key = (version, like.device, like.dtype)
        if self._tables is None or self._tables[0] is not self.codes or self._tables[1] != key:
            # Made as ordinary tensors, so that training can follow an evaluation in inference mode.
            with torch.inference_mode(False):
                self._tables = (self.codes, key, *self._build_tables(like))
        return self._tables[2:]

    def _build_tables(self, like: Tensor) -> tuple[Tensor, Tensor, bool]:
        heads = [(s.tables, s.odd) for s in self.strings]
        most = max(flips.shape[0] for (flips, _, _), _ in heads)
        dimension = 2 ** self.codes.shape[-1]
        needs_odd = any(bool(odd.any()) for _, odd in heads)
        n_heads, n_strings = self.codes.shape[:2]
        all_flips = torch.zeros(n_heads, most, dimension, dtype=torch.long)
        # Row block 0 meets the symmetric products, block 1 (if any) the antisymmetric ones.
        weights = torch.zeros(n_heads, 1 + needs_odd, most, dimension, n_strings)
        for head, ((flips, signs, group), odd) in enumerate(heads):
            all_flips[head, : flips.shape[0]] = flips
            for string in range(n_strings):
                block = int(odd[string])
                weights[head, block, group[string], :, string] = signs[string].to(weights.dtype)
        return all_flips.to(like.device), weights.flatten(1, 3).to(like), needs_odd
