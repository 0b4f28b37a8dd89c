"""How Pauli expectations behind circuits follow from those of a product state before them."""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch
from torch import Tensor

from ketformer.attention.shared_unitary import KeptUnitary
from ketformer.quantum import Circuit

LETTERS = "IXYZ"


class KeptTransfer(KeptUnitary):
    """What takes a token's products of I, Y and Z to expectations behind the circuits of QMSAN.

    Those are of all strings on the kept qubits for query and for key, and of Y and then Z on each
    qubit for the values: ``[H, 2 · 4^m + 2n, 3^n]`` for angles ``[3, H, P]``.
    """

    def __init__(self, circuit: Circuit, kept_qubits: int) -> None:
        super().__init__(circuit)
        n = circuit.n_qubits
        letters = itertools.product(LETTERS, repeat=kept_qubits)
        self.strings = tuple("".join(kept) + "I" * (n - kept_qubits) for kept in letters)
        self.single = tuple("I" * i + c + "I" * (n - 1 - i) for c in "YZ" for i in range(n))

    def computed(self, angles: Tensor) -> Tensor:
        """From the matrices of the three circuits."""
        unitaries = super().computed(angles)  # [3, H, 2^n, 2^n]
        query, key = transfer(unitaries[:2], self.strings)
        return torch.cat([query, key, transfer(unitaries[2], self.single)], dim=-2)


def transfer(unitaries: Tensor, strings: tuple[str, ...]) -> Tensor:
    """How Pauli expectations behind a circuit follow from a product state of I, Y and Z.

    The state before it is 2^-n times the sum of p_Q Q over strings Q of I, Y and Z. Behind U, the
    expectation of P is the sum of p_Q tr(P U Q U†) / 2^n.

    Args:
        unitaries: U, ``[..., 2^n, 2^n]``.
        strings: S strings P on n qubits.

    Returns:
        ``[..., S, 3^n]``, the factors of p_Q; the letters of qubit 0 vary slowest.
    """
    dimension = unitaries.shape[-1]
    source, factors = _rows_on(unitaries.device, strings)
    wide = torch.promote_types(unitaries.dtype, torch.complex64)
    # P U for all P, [..., row, P, column]: P moves the rows of U and multiplies them.
    moved = unitaries.to(wide)[..., source, :] * factors.to(wide).unsqueeze(-1)
    turned = unitaries.mH.to(wide) @ moved.flatten(-2)  # U† P U
    turned = turned.unflatten(-1, (len(strings), -1)).movedim(-2, -3)
    return pauli_coordinates(turned, "IYZ").real / dimension


def _rows_on(device: torch.device, strings: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():  # the graph keeps the tables, so no cache is needed
        source, factors = _as_rows(strings)
        return source.to(device), factors.to(device)
    return _kept_rows(device, strings)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # training must be able to use what an evaluation kept
def _kept_rows(device: torch.device, strings: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    source, factors = _as_rows(strings)
    return source.to(device), factors.to(device)


def _as_rows(strings: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """For each row and string, the column of the only entry there, and the entry: ``[2^n, S]``."""
    n = len(strings[0])
    rows = torch.arange(2**n, device="cpu")
    bits = rows.unsqueeze(-1) >> torch.arange(n - 1, -1, -1, device="cpu") & 1
    moves, signs = (
        torch.tensor([[c in letters for c in s] for s in strings], device="cpu").mT.long()
        for letters in ("XY", "YZ")
    )  # [n, S]
    places = 1 << torch.arange(n - 1, -1, -1, device="cpu")
    source = rows.unsqueeze(-1) ^ (places @ moves)
    # -i in the first row of Y and i in the second.
    found = [(-1j) ** s.count("Y") for s in strings]
    phases = torch.tensor(found, dtype=torch.complex128, device="cpu")
    return source, phases * (1 - 2 * (bits @ signs % 2))


def pauli_coordinates(matrices: Tensor, letters: str) -> Tensor:
    """tr(PX) for all strings P of some letters, of matrices X ``[..., 2^k, 2^k]``.

    Args:
        matrices: real or complex.
        letters: L different ones of I, X, Y and Z.

    Returns:
        Complex ``[..., L^k]``; the letters of qubit 0 vary slowest.
    """
    k = matrices.shape[-1].bit_length() - 1
    batch = matrices.shape[:-2]
    grid = matrices.reshape(*batch, *(2,) * (2 * k))
    pairs = [len(batch) + axis for i in range(k) for axis in (i, k + i)]
    grid = grid.permute(*range(len(batch)), *pairs).reshape(*batch, -1)
    wide = torch.promote_types(grid.dtype, torch.complex64)
    table = _entries_on(grid.device, letters).to(wide)
    grid = grid.to(wide)
    for _ in range(k):  # the first qubit, which then becomes the last
        grid = (grid.unflatten(-1, (4, -1)).mT @ table.mT).flatten(-2)
    return grid


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # training must be able to use what an evaluation kept
def _entries_on(device: torch.device, letters: str) -> Tensor:
    """P_ba for row a and column b of X: ``[L, 4]``."""
    entries = {"I": (1, 0, 0, 1), "X": (0, 1, 1, 0), "Y": (0, 1j, -1j, 0), "Z": (1, 0, 0, -1)}
    return torch.tensor([entries[c] for c in letters], dtype=torch.complex128, device=device)
