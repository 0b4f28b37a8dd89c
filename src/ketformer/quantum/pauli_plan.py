"""Many Pauli expectations at once, fast: the same numbers as `pauli_expectations`.

Strings that flip the same bits share one product of amplitudes, and a product is
the same at b and at b XOR a (or its opposite, for an odd number of Y). So for each
distinct flip mask the state is cut in two along one flipped qubit, the halves are
multiplied, and the signs of all its strings are one small matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ketformer.quantum.pauli import PauliStrings


@dataclass(frozen=True)
class _Group:
    """The strings of one flip mask.

    Attributes:
        flipped: qubits that the strings flip, in register order.
        even: ``[half, S_even]`` signs that meet the symmetric products.
        odd: ``[half, S_odd]`` signs that meet the antisymmetric ones.
    """

    flipped: tuple[int, ...]
    even: Tensor
    odd: Tensor


class PauliPlan:
    """The tables of a set of strings for one device and floating-point type."""

    def __init__(self, strings: PauliStrings, like: Tensor) -> None:
        self.strings = strings
        self.n_qubits = strings.n_qubits
        _, signs, group = strings.tables
        basis = torch.arange(2**self.n_qubits, device="cpu")
        self.groups: list[_Group] = []
        order: list[int] = []  # for each column of the output, the string it belongs to
        for number in range(int(group.max()) + 1):
            members = (group == number).nonzero().flatten().tolist()
            flipped = tuple(
                q for q, letter in enumerate(strings.strings[members[0]]) if letter in "XY"
            )
            keep, factor = torch.ones_like(basis, dtype=torch.bool), 1
            if flipped:  # the first half, counted twice
                keep = (basis >> (self.n_qubits - 1 - flipped[0])) & 1 == 0
                factor = 2
            even = [m for m in members if not strings.odd[m]]
            odd = [m for m in members if strings.odd[m]]
            order += even + odd
            table = factor * signs[:, keep]
            self.groups.append(_Group(flipped, table[even].T.to(like), table[odd].T.to(like)))
        column = torch.empty(len(order), dtype=torch.long, device="cpu")
        column[torch.tensor(order)] = torch.arange(len(order), device="cpu")
        self.column = column.to(like.device)

    def __call__(self, real: Tensor, imag: Tensor | None = None) -> Tensor:
        """<state|P_s|state> for every string.

        Args:
            real: ``[..., 2^n]``, real parts of the amplitudes.
            imag: imaginary parts; None for a real state, where strings with an odd
                number of Y give exactly 0.

        Returns:
            ``[..., S]``.
        """
        columns = []
        for group in self.groups:
            r0, r1 = self._halves(real, group.flipped)
            if imag is None:
                columns.append((r0 * r1) @ group.even)
                columns.append(real.new_zeros(*real.shape[:-1], group.odd.shape[-1]))
                continue
            i0, i1 = self._halves(imag, group.flipped)
            if group.even.shape[-1]:
                columns.append((r0 * r1 + i0 * i1) @ group.even)
            if group.odd.shape[-1]:
                columns.append((r0 * i1 - i0 * r1) @ group.odd)
        return torch.cat(columns, dim=-1).index_select(-1, self.column)

    def _halves(self, state: Tensor, flipped: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """``y[b]`` and ``y[b XOR a]`` for the b whose first flipped bit is 0."""
        if not flipped:
            return state, state
        first, *rest = flipped
        batch = state.shape[:-1]
        halves = state.reshape(*batch, 2**first, 2, -1)
        zero, one = halves.select(-2, 0), halves.select(-2, 1)
        if rest:
            below = self.n_qubits - 1 - first  # qubits after the first flipped one
            grid = one.reshape(*batch, 2**first, *(2,) * below)
            one = grid.flip([len(batch) + q - first for q in rest])
        return zero.reshape(*batch, -1), one.reshape(*batch, -1)
