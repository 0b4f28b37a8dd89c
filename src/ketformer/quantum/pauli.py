"""Pauli strings and their expectations, computed by gathers and signs.

P = sigma_1 ⊗ … ⊗ sigma_n maps basis state b to b XOR a (a: the bits with X or Y)
with a phase, so <y|P|y> is a gather, a product and a signed sum. No 2^n x 2^n
matrix is ever built.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LETTERS = "IXYZ"


@dataclass(frozen=True)
class PauliStrings:
    """A tuple of Pauli strings on one register, e.g. ``PauliStrings(("XIZ", "IYY"))``.

    Character ``i`` acts on qubit ``i``; qubit 0 is the most significant bit.

    Raises:
        ValueError: no strings, unequal lengths, or a letter outside I, X, Y, Z.
    """

    strings: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.strings or not self.strings[0]:
            raise ValueError("at least one Pauli string on at least one qubit is needed")
        for string in self.strings:
            if len(string) != self.n_qubits or set(string) - set(LETTERS):
                raise ValueError(
                    f"{string!r} is not a Pauli string of {self.n_qubits} letters out of {LETTERS}"
                )

    @classmethod
    def from_codes(cls, codes: Tensor) -> PauliStrings:
        """From integers ``[S, n]`` with 0, 1, 2, 3 for I, X, Y, Z."""
        return cls(tuple("".join(LETTERS[c] for c in row) for row in codes.tolist()))

    @property
    def n_qubits(self) -> int:
        """Number of letters in a string."""
        return len(self.strings[0])

    def __len__(self) -> int:
        return len(self.strings)

    @cached_property
    def codes(self) -> Tensor:
        """``[S, n]`` uint8 with 0, 1, 2, 3 for I, X, Y, Z."""
        rows = [[LETTERS.index(c) for c in string] for string in self.strings]
        return torch.tensor(rows, dtype=torch.uint8, device="cpu")

    def flip_mask(self, string: str) -> int:
        """The bits that the string flips: those of its X and Y, with qubit 0 the highest."""
        return int("".join("1" if c in "XY" else "0" for c in string), 2)

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """``flips`` [A, D], ``signs`` [S, D], ``group`` [S] for the A distinct flip masks.

        String s has mask ``group[s]``: its partner index is ``flips[group[s]]``.
        ``signs`` contains (-1)^(b & z) and the real factor that remains of i^(number
        of Y); strings with an odd number of Y multiply the antisymmetric product
        (see :func:`pauli_expectations`).
        """
        dimension = 2**self.n_qubits
        basis = torch.arange(dimension, device="cpu")
        masks = [self.flip_mask(s) for s in self.strings]
        distinct = sorted(set(masks))
        flips = torch.stack([basis ^ mask for mask in distinct])
        signs = torch.ones(len(self), dimension, dtype=torch.float64, device="cpu")
        for row, string in zip(signs, self.strings, strict=True):
            for qubit, letter in enumerate(string):
                if letter in "YZ":
                    row *= 1 - 2 * ((basis >> (self.n_qubits - 1 - qubit)) & 1)
            # (-i)^y = (-1)^(y/2) for even y; for odd y the remaining -i meets i(...)
            # of the antisymmetric product, which leaves (-1)^((y-1)/2).
            row *= (-1) ** (string.count("Y") // 2)
        group = torch.tensor([distinct.index(mask) for mask in masks], device="cpu")
        return flips, signs, group

    @cached_property
    def odd(self) -> Tensor:
        """``[S]`` bool: an odd number of Y, so the expectation on a real vector is 0."""
        return torch.tensor([s.count("Y") % 2 == 1 for s in self.strings], device="cpu")


def pauli_expectations(state: Tensor, strings: PauliStrings) -> Tensor:
    """<state|P_s|state> for every string: the readable reference.

    With c(b) the phase of P and y' = y[b XOR a]: sum_b conj(y_b) c(b) y'_b. An even
    number of Y makes c real and leaves the symmetric product re·re' + im·im'; an
    odd number makes c imaginary and leaves the antisymmetric re·im' - im·re'.

    Args:
        state: ``[..., 2^n]``, real or complex; need not be normalised.
        strings: ``S`` strings on ``n`` qubits.

    Returns:
        ``[..., S]``, real.

    Raises:
        ValueError: the strings and the state have different numbers of qubits.
    """
    if state.shape[-1] != 2**strings.n_qubits:
        raise ValueError(
            f"strings on {strings.n_qubits} qubits do not fit {state.shape[-1]} amplitudes"
        )
    flips, signs, group = (table.to(state.device) for table in strings.tables)
    partner = state[..., flips[group]]  # [..., S, D]
    own = state.unsqueeze(-2)
    if not state.is_complex():
        product = own * partner
        signs = signs.to(state.dtype) * ~strings.odd.to(state.device)[:, None]
        return (product * signs).sum(dim=-1)
    product = own.conj() * partner
    odd = strings.odd.to(state.device)[:, None]
    real = torch.where(odd, product.imag, product.real)
    return (real * signs.to(real.dtype)).sum(dim=-1)


def random_strings(
    count: int, n_qubits: int, generator: torch.Generator | None = None
) -> PauliStrings:
    """Strings as QISA draws them (arXiv 2603.03318).

    Each letter is I with probability 0.9, otherwise X, Y or Z with equal probability; a string
    is never all I. Strings may repeat, and those with an odd number of Y are dead on real vectors.
    """
    drawn: list[str] = []
    while len(drawn) < count:
        uniform = torch.rand(count, n_qubits, generator=generator, device="cpu")
        letter = torch.randint(1, 4, (count, n_qubits), generator=generator, device="cpu")
        codes = letter.masked_fill(uniform < 0.9, 0)
        drawn += PauliStrings.from_codes(codes[codes.any(dim=-1)]).strings if codes.any() else ()
    return PauliStrings(tuple(drawn[:count]))


def distinct_strings(
    count: int, n_qubits: int, generator: torch.Generator | None = None
) -> PauliStrings:
    """Distinct strings with an even number of Y, so that none is dead or repeated.

    Strings on few qubits come first (they are the cheapest to measure); strings of the
    last weight reached are chosen at random.

    Raises:
        ValueError: ``count`` exceeds (4^n + 2^n)/2 - 1, the number of such strings.
    """
    available = (4**n_qubits + 2**n_qubits) // 2 - 1
    if count > available:
        raise ValueError(
            f"{count} distinct observables were requested, but {n_qubits} qubits have only "
            f"{available} Pauli strings with an even number of Y"
        )
    chosen: list[str] = []
    for weight in range(1, n_qubits + 1):
        candidates = list(_strings_of_weight(weight, n_qubits))
        order = torch.randperm(len(candidates), generator=generator, device="cpu").tolist()
        chosen += [candidates[i] for i in order[: count - len(chosen)]]
        if len(chosen) == count:
            break
    return PauliStrings(tuple(chosen))


def _strings_of_weight(weight: int, n_qubits: int) -> list[str]:
    strings = []
    for places in itertools.combinations(range(n_qubits), weight):
        for letters in itertools.product("XYZ", repeat=weight):
            if letters.count("Y") % 2 == 0:
                string = ["I"] * n_qubits
                for place, letter in zip(places, letters, strict=True):
                    string[place] = letter
                strings.append("".join(string))
    return strings
